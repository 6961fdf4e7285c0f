import type { Change } from "../../compiler/plan.js";
import type { Applied, HeldIfId } from "../backend.js";
import type { IfIdPlan } from "./if-ids.js";

/** Messages name so many, and count the others: a policy may have many thousands of connections. */
const NAMED = 10;

/** As policies write it, and as `ip xfrm` does. */
export const formatIfId = (ifId: number): string => `${ifId} (0x${ifId.toString(16)})`;

/** The part of Applied that is about held if_ids, and its warnings. @param failure what else went wrong; null for nothing */
export function heldResult(plan: IfIdPlan, failure: string | null): Pick<Applied, "warning" | "held"> {
  const warnings = [failure, heldWarning(plan)].filter((warning) => warning !== null);
  return {
    ...(warnings.length > 0 ? { warning: warnings.join("\n") } : {}),
    ...(plan.held.length > 0 ? { held: plan.held } : {}),
  };
}

/** What an apply has to tell of if_ids that it holds; null where it holds none. */
function heldWarning({ held, heldNow }: IfIdPlan): string | null {
  if (held.length === 0) return null;
  const lines = held.slice(0, NAMED).map((each) => describe(each, heldNow.has(each.ifId)));
  if (held.length > NAMED) lines.push(`and ${held.length - NAMED} more; \`xfrm-steer status\` names all`);
  return [
    `${held.length === 1 ? "an if_id is" : `${held.length} if_ids are`} held: what would be sent by it or comes in by it is dropped`,
    ...lines,
    ADVICE,
  ].join("\n  ");
}

const ADVICE =
  "let the IKE daemon, or `ip xfrm`, make the change: delete these SAs and the policies that go with them, install the new " +
  "connection's, then apply again";

function describe({ ifId, connection, before, sas }: HeldIfId, now: boolean): string {
  const change = now ? `was ${before}'s and is ${connection}'s now` : `of ${connection} stays held`;
  return `if_id ${formatIfId(ifId)} ${change}; ${listSas(before, sas)}`;
}

function listSas(before: string, sas: readonly string[]): string {
  if (sas.length === 0) return `no SA of ${before} was found`;
  const some = sas.slice(0, 2).join(", ");
  return `SAs of ${before}: ${some}${sas.length > 2 ? ` and ${sas.length - 2} more` : ""}`;
}

/** A line of status. */
export function formatHeld({ ifId, connection, before, sas }: HeldIfId): string {
  return `held: if_id ${formatIfId(ifId)} is ${connection}'s and was ${before}'s; ${listSas(before, sas)}`;
}

/** What an apply would change of if_ids, beside what it says of connections. */
export function ifIdChanges({ held, heldNow, opened }: IfIdPlan): Change[] {
  const change = (ifId: number, detail: string): Change => {
    return { action: "change", what: "if_id", name: formatIfId(ifId), details: [detail] };
  };
  return [
    ...held
      .filter(({ ifId }) => heldNow.has(ifId))
      .map(({ ifId, connection, before }) =>
        change(
          ifId,
          `${before} -> ${connection}: held, its packets are dropped until an apply after this one`,
        ),
      ),
    ...opened.map((ifId) => change(ifId, "held -> open")),
  ];
}
