import { BackendError } from "../errors.js";
import { type FlowAnswer, type FlowRequest, readFlows, serveFlows } from "../flow-requests.js";
import { lastKnown } from "../kernel/resolved-devices.js";
import { StateDir } from "../kernel/state-dir.js";
import { applyPolicy, openLiveFlows } from "./apply.js";
import { readInstalled } from "./installed.js";
import type { State } from "./state.js";

/**
 * See Backend.flows. The caller holds the lock. The first change of all swaps in the same policy with a table for such
 * flows; later ones change that.
 */
export async function changeFlows(name: string, request: FlowRequest): Promise<FlowAnswer | null> {
  const kept = new StateDir<State>(name, "kernel-bpf");
  const installed = readInstalled(name, kept);
  if (!installed?.running) return null;
  {
    using open = openLiveFlows(kept, installed);
    if (open) return serveFlows(open.live, open.policy, request);
  }
  if (request.action === "list") return { diagnostics: [], changed: 0, flows: [] };
  const policy = kept.readPolicy(installed.running.number);
  if (policy === null) throw new BackendError(`the policy of ${name} is not kept any more; apply it again`);
  const { diagnostics, errors } = readFlows(policy, request);
  if (errors > 0) return { diagnostics, changed: 0, flows: [] };
  await applyPolicy(policy, lastKnown(installed.running.devices), { liveFlows: true });
  using open = openLiveFlows(kept, readInstalled(name, kept));
  if (open === null) throw new BackendError(`${name} was taken away meanwhile`);
  return serveFlows(open.live, open.policy, request);
}
