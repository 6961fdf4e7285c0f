import type { OffloadedState } from "../../esp/offload/stack.js";
import { SimulatedBond } from "../bond.js";
import type { FaultName } from "../faults.js";
import { SimulatedNic } from "../nic.js";
import type { SimulatedOffload } from "../provider.js";

/** Does, before a round of traffic, what faults do to devices and SAs. Those that strike packets are in hardware.ts. */
export function strike(round: number, faults: readonly FaultName[], offload: SimulatedOffload): void {
  for (const fault of faults) SCHEDULE[fault]?.(round, offload);
}

/** The second round is the first that they see. */
const STRUCK = 1;

/** Whether a fault has had its effect when this round's traffic is sent. */
export const hasStruck = (fault: FaultName, round: number): boolean =>
  SCHEDULE[fault] === undefined || round >= STRUCK;

const SCHEDULE: Partial<Record<FaultName, (round: number, offload: SimulatedOffload) => void>> = {
  "feature-off": (round, offload) => {
    for (const device of offload.devices.values()) {
      if (!(device instanceof SimulatedNic)) continue;
      // What depends on it goes first.
      if (round === STRUCK && device.profile.features.includes("esp-tx-csum-hw-offload"))
        device.setFeature("esp-tx-csum-hw-offload", false);
      if (round === STRUCK) device.setFeature("esp-hw-offload", false);
      if (round === STRUCK + 1) device.setFeature("esp-hw-offload", true);
    }
  },
  "device-down": takeDown,
  "device-gone": takeDown,
  "delete-during-update": (round, offload) => {
    const [first] = offload.stack.states;
    if (round === STRUCK && first !== undefined) deleteDuringUpdate(offload, first);
  },
  "bond-failover": (round, offload) => {
    if (round !== STRUCK) return;
    for (const device of offload.devices.values()) if (device instanceof SimulatedBond) device.failover();
  },
};

function takeDown(round: number, offload: SimulatedOffload): void {
  if (round === STRUCK) for (const device of offload.devices.values()) offload.takeDown(device);
}

/** The driver's work that was queued finds the SA deleted, but not yet freed. */
function deleteDuringUpdate(offload: SimulatedOffload, state: OffloadedState): void {
  const outbound = [...offload.stack.states].find((each) => each.state.direction === "out") ?? state;
  offload.stack.statistics(outbound);
  offload.delete(outbound);
}
