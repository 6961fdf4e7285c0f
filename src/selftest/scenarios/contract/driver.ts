import type { Backend } from "../../../backends/backend.js";
import { allBackends } from "../../../backends/select.js";
import { formatDiagnostic, parsePolicy } from "../../../config/index.js";

/**
 * A process in the hub's namespace that does what it is asked to over its IPC channel, one request after the other:
 * the command line without its start-up time, and something that can be killed in the middle of its work.
 */
export type Request =
  | { readonly operation: "apply"; readonly policy: string; readonly file: string }
  | { readonly operation: "status" | "unload"; readonly name: string };

export type Reply = { readonly result: unknown } | { readonly error: string };

async function answer(request: Request): Promise<unknown> {
  if (request.operation === "apply") {
    const { policy, diagnostics } = parsePolicy(request.policy, request.file);
    if (policy === null) throw new Error(diagnostics.map(formatDiagnostic).join("\n"));
    const backend = allBackends().find(({ name }) => name === policy.backend) as Backend;
    return await backend.apply(policy);
  }
  for (const backend of allBackends()) {
    if (request.operation === "unload" && (await backend.remove(request.name))) return true;
    const status = request.operation === "status" ? await backend.status(request.name) : null;
    if (status !== null) return status;
  }
  return request.operation === "unload" ? false : null;
}

let queue = Promise.resolve();
process.on("message", (request: Request) => {
  queue = queue.then(async () => {
    const reply: Reply = await answer(request).then(
      (result) => ({ result }),
      (error: unknown) => ({ error: error instanceof Error ? error.message : String(error) }),
    );
    process.send?.(reply);
  });
});
