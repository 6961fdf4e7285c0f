import type { Target } from "./policy.js";

/** A rule's target in words, for tables and messages. */
export function formatTarget(to: Target): string {
  switch (to.kind) {
    case "connection":
      return to.link === null ? to.connection : `${to.connection} (link ${to.link})`;
    case "group":
      return to.members.map(({ connection, weight }) => `${connection}:${weight}`).join(" ");
    default:
      return to.kind;
  }
}
