import type { OffloadDevice, XfrmdevOps } from "../esp/offload/contract.js";
import { SimulatedBond } from "./bond.js";
import type { FaultName } from "./faults.js";
import type { ContextSpec } from "./hardware.js";
import { SimulatedNic } from "./nic.js";
import type { PortMemory } from "./port-memory.js";
import type { Profile } from "./profile.js";
import type { SaMemory } from "./sa-memory.js";

/** A simulated device: one port, or a bond of two. */
export interface SimulatedDevice extends OffloadDevice {
  readonly ops: XfrmdevOps;
  readonly memory: PortMemory;
  /** What goes wrong as SAs are added; a bond's ports have them together. */
  readonly faults: Set<FaultName>;
  /** SAs and policies that refer to it. */
  readonly references: number;
  setUp(up: boolean): void;
  memoryOf(handle: number): SaMemory;
}

/** @param name as links are called, of the device or the bond; its ports are NAME-0 and NAME-1 then */
export function createDevice(name: string, profile: Profile, faults = new Set<FaultName>()): SimulatedDevice {
  const [first, second] = profile.ports;
  if (second === undefined) return new SimulatedNic(name, first, faults);
  return new SimulatedBond(name, [
    new SimulatedNic(`${name}-0`, first, faults),
    new SimulatedNic(`${name}-1`, second, faults),
  ]);
}

/** What the thread that sends or receives with an SA gets to know of it. */
export function contextSpec(
  device: SimulatedDevice,
  profile: Profile,
  handle: number,
  direction: "in" | "out",
): ContextSpec {
  const { trailer } = profile.ports[0];
  return {
    port: device.memory.shared,
    sa: device.memoryOf(handle).shared,
    trailer: direction === "out" ? trailer.transmit : trailer.receive,
  };
}
