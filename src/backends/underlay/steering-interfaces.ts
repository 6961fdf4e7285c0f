import { keptInterfaces } from "../kernel/state-dir.js";
import { recordedInterfaces } from "../userspace/device-record.js";

/** Names of the interfaces of this network namespace that are steered on, and of the one that is being set up. */
export function steeringInterfaces(name: string): string[] {
  return [name, ...recordedInterfaces(), ...keptInterfaces("kernel-bpf"), ...keptInterfaces("kernel-lwt")];
}
