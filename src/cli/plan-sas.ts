import { ask } from "../backends/userspace/control.js";
import type { XfrmDatabases } from "../backends/userspace/databases.js";
import type { Change } from "../compiler/plan.js";
import type { Policy } from "../config/index.js";
import { allSas } from "../config/keys.js";

/**
 * Adds what an apply would change of the SAs that `sa add`, `sa switch` and `sa delete` changed, by their SPIs: to the
 * change of their connection, where there is one, else as one more.
 */
export async function withSaChanges(changes: readonly Change[], policy: Policy): Promise<readonly Change[]> {
  const found = await ask(policy.interface.name, "xfrm", {});
  if (found === null) return changes;
  const left = saChanges(found.states, policy);
  const merged = changes.map((change) => {
    const more = change.what === "connection" ? left.get(change.name) : undefined;
    if (more === undefined) return change;
    left.delete(change.name);
    return { ...change, details: [...change.details, ...more] };
  });
  const others = [...left].map(([name, details]): Change => {
    return { action: "change", what: "connection", name, details };
  });
  return [...merged, ...others];
}

/** By connection; none of one that has no SAs before or after, as its change says so. */
function saChanges(states: XfrmDatabases["states"], policy: Policy): Map<string, string[]> {
  const running = new Map<string, { out: number[]; in: number[] }>();
  for (const { connection, direction, spi } of states) {
    const spis = running.get(connection) ?? { out: [], in: [] };
    spis[direction].push(spi);
    running.set(connection, spis);
  }
  const changes = new Map<string, string[]>();
  for (const { name, esp } of policy.connections) {
    const before = running.get(name);
    if (esp === null || before === undefined) continue;
    const [out = 0, ...into] = allSas(esp).map(({ spi }) => spi);
    const details = [
      ["out", list(before.out), list([out])],
      ["in", list(before.in), list(into)],
    ].flatMap(([direction, a, b]) => (a === b ? [] : [`spi ${direction}: ${a} -> ${b}`]));
    if (details.length > 0) changes.set(name, details);
  }
  return changes;
}

function list(spis: readonly number[]): string {
  const sorted = [...spis].sort((a, b) => a - b);
  return sorted.map((spi) => `0x${spi.toString(16)}`).join(", ");
}
