import type { Backend } from "../../backends/backend.js";
import type { BackendName } from "../../config/policy.js";
import { withinNamespace } from "../netns.js";
import type { SteeringReply, SteeringRequest } from "./messages.js";

// The steering process: answers one request after the other, and ends with the process that asks.

/** Loads the backend alone: in an emulated machine each module takes its time. */
async function backendOf(wanted: BackendName): Promise<Backend> {
  const loaded = (await import(`../../backends/${wanted}/backend.js`)) as Record<string, Backend>;
  return Object.values(loaded).find(({ name }) => name === wanted) as Backend;
}

async function answer(request: SteeringRequest): Promise<unknown> {
  const backend = await backendOf(request.backend);
  return await withinNamespace(request.netns, () => {
    switch (request.operation) {
      case "apply":
        return backend.apply(request.policy) as Promise<unknown>;
      case "status":
        return backend.status(request.name);
      case "unload":
        return backend.remove(request.name);
    }
  });
}

let queue = Promise.resolve();
process.on("message", (request: SteeringRequest) => {
  queue = queue.then(async () => {
    const reply: SteeringReply = await answer(request).then(
      (result) => ({ result }),
      (error: unknown) => ({ error: error instanceof Error ? error.message : String(error) }),
    );
    process.send?.(reply);
  });
});
