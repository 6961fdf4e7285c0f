import type { OffloadModule } from "../messages.js";
import type { OffloadHardware } from "./contract.js";

/** What a worker's SAs are offloaded to; null where nothing is. */
export async function loadHardware(from: OffloadModule | null): Promise<OffloadHardware | null> {
  if (from === null) return null;
  const { createHardware } = (await import(from.module)) as {
    createHardware: (spec: unknown) => OffloadHardware;
  };
  return createHardware(from.spec);
}
