import type { Traffic } from "../counters.js";

/** The programs that refuse plaintext from the underlay, as they are. */
export interface UnderlayStatus {
  /** Names of the devices that have them. */
  readonly devices: readonly string[];
  /** Dropped since the interface was set up. */
  readonly refused: Traffic;
}

/** The same among a status's drops. */
export function underlayDrops(status: UnderlayStatus | null): Record<string, number> {
  return status === null || status.refused.packets === 0
    ? {}
    : { plaintextFromUnderlay: status.refused.packets };
}
