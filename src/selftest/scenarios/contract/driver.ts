import type { Backend } from "../../../backends/backend.js";
import type { Policy } from "../../../config/policy.js";

/**
 * A process in the hub's namespace that does what it is asked to over its IPC channel, one request after the other: the
 * command line without its start-up time, and something that can be killed in the middle of its work. It loads only the
 * backend that its argument names: in an emulated machine each module takes its time.
 */
export type Request =
  | { readonly operation: "apply"; readonly policy: Policy }
  | { readonly operation: "status" | "unload"; readonly name: string };

export type Reply = { readonly result: unknown } | { readonly error: string };

const [, , wanted = ""] = process.argv;
const loaded = (await import(`../../../backends/${wanted}/backend.js`)) as Record<string, Backend>;
const backend = Object.values(loaded).find(({ name }) => name === wanted) as Backend;

async function answer(request: Request): Promise<unknown> {
  switch (request.operation) {
    case "apply":
      return await backend.apply(request.policy);
    case "status":
      return await backend.status(request.name);
    case "unload":
      return await backend.remove(request.name);
  }
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
