import type { Backend } from "../../backends/backend.js";
import { allBackends } from "../../backends/select.js";
import { formatDiagnostic, type Policy, parsePolicy } from "../../config/index.js";
import { withinNamespace } from "../netns.js";
import type { SteeringReply, SteeringRequest } from "./messages.js";

// The steering process: answers one request after the other, and ends with the process that asks.

async function answer(request: SteeringRequest): Promise<unknown> {
  if (request.operation === "apply") {
    const policy = typeof request.policy === "string" ? parsed(request.policy) : request.policy;
    const backend = allBackends().find(({ name }) => name === policy.backend);
    if (backend === undefined) throw new Error("a scenario's policy has to name its backend");
    return await backend.apply(policy);
  }
  for (const backend of allBackends()) {
    if (!backend.interfaces().includes(request.name)) continue;
    return await served(backend, request.operation, request.name);
  }
  return request.operation === "unload" ? false : null;
}

function parsed(text: string): Policy {
  const { policy, diagnostics } = parsePolicy(text, "steer.yaml");
  if (policy === null) throw new Error(diagnostics.map(formatDiagnostic).join("\n"));
  return policy;
}

function served(backend: Backend, operation: "status" | "unload", name: string): Promise<unknown> {
  return operation === "unload" ? backend.remove(name) : backend.status(name);
}

let queue = Promise.resolve();
process.on("message", (request: SteeringRequest) => {
  queue = queue.then(async () => {
    const reply: SteeringReply = await withinNamespace(request.netns, () => answer(request)).then(
      (result) => ({ result }),
      (error: unknown) => ({ error: error instanceof Error ? error.message : String(error) }),
    );
    process.send?.(reply);
  });
});
