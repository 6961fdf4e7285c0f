import { type Diagnostic, Report } from "../config/diagnostics.js";
import { readFlowText } from "../config/flow-files.js";
import type { Flows, Policy } from "../config/policy.js";
import type { LiveFlow, LiveFlows } from "./live-flows.js";

export type FlowAction = "add" | "del" | "list";

export interface FlowRequest {
  readonly action: FlowAction;
  /** CSV with a header, or NDJSON. */
  readonly text: string;
}

export interface FlowAnswer {
  /** Where one is an error, nothing was changed. */
  readonly diagnostics: readonly Diagnostic[];
  readonly changed: number;
  readonly flows: readonly LiveFlow[];
}

/** The flows of a request to add or delete some, of a running policy; `errors` where they are not to be used. */
export function readFlows(
  policy: Policy,
  { action, text }: FlowRequest,
): { flows: Flows; diagnostics: readonly Diagnostic[]; errors: number } {
  const report = new Report();
  const flows = readFlowText(Buffer.from(text), "stdin", policy.connections, report, action === "add");
  for (const { line } of [flows.subnets4, flows.subnets6]) {
    if (line.length === 0) continue;
    report.error(
      { file: "stdin", line: line[0] as number, column: 1 },
      "this is a prefix, not a flow",
      "write it into the policy and apply; here are whole flows only",
    );
  }
  return { flows, diagnostics: report.sorted(), errors: report.errors };
}

/** Changes or lists the live flows of a running policy. @throws BackendError where too many are added */
export function serveFlows(live: LiveFlows, policy: Policy, request: FlowRequest): FlowAnswer {
  const { action } = request;
  if (action === "list") return { diagnostics: [], changed: 0, flows: live.list() };
  const { flows, diagnostics, errors } = readFlows(policy, request);
  const changed = errors > 0 ? 0 : action === "add" ? live.add(flows) : live.delete(flows);
  return { diagnostics, changed, flows: [] };
}
