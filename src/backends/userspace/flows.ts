import { type Diagnostic, Report } from "../../config/diagnostics.js";
import { readFlowText } from "../../config/flow-files.js";
import type { Policy } from "../../config/policy.js";
import type { LiveFlow, LiveFlows } from "../live-flows.js";
import { ask } from "./control.js";

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

/** Asks the service of an interface to change or list its live flows; null where none serves it. */
export function changeFlows(
  interfaceName: string,
  action: FlowAction,
  text: string,
): Promise<FlowAnswer | null> {
  return ask(interfaceName, "flows", { action, text });
}

/** The service's side of `changeFlows`. @throws BackendError where too many are added */
export function serveFlows(live: LiveFlows, policy: Policy, { action, text }: FlowRequest): FlowAnswer {
  if (action === "list") return { diagnostics: [], changed: 0, flows: live.list() };
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
  const changed = report.errors > 0 ? 0 : action === "add" ? live.add(flows) : live.delete(flows);
  return { diagnostics: report.sorted(), changed, flows: [] };
}
