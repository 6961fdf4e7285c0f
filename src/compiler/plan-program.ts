import type { Policy, ProgramConfig } from "../config/policy.js";
import { type Change, differing } from "./plan.js";

/** How the steering programs of two policies differ. The code is compared only where both are built. */
export function planProgram({ program: a }: Policy, { program: b }: Policy): Change[] {
  const change = (action: Change["action"], details: readonly string[]): Change[] => [
    { action, what: "program", name: "", details },
  ];
  if (a === undefined) return b === undefined ? [] : change("add", [b.file]);
  if (b === undefined) return change("remove", [a.file]);
  const [was, is] = [settingsOf(a), settingsOf(b)];
  const names = new Set([...was.keys(), ...is.keys()]);
  const details = [
    ...differing([["file", a.file, b.file]]),
    ...(a.built && b.built && a.built.object !== b.built.object ? ["its code differs"] : []),
    ...differing([...names].map((name) => [name, was.get(name) ?? "none", is.get(name) ?? "none"])),
  ];
  return details.length === 0 ? [] : change("change", details);
}

/** Constants and entries of maps as written; of two entries with one key the later counts. */
function settingsOf({ constants, maps }: ProgramConfig): Map<string, string> {
  return new Map([
    ...Object.entries(constants).map(([name, of]) => [`constant ${name}`, of.join(",")] as const),
    ...maps.map(({ map, key, value }) => [`map ${map}: ${key.join(",")}`, value.join(",")] as const),
  ]);
}
