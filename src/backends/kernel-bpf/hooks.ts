import { attachTc, type BpfProgram, findTc, type TcDirection, type TcLink, unpin } from "libbpf-ts";
import type { PinDir } from "./pins.js";

/** Place of our filters where clsact takes the part of tcx; the handle tells them from other people's. */
const CLSACT_PLACE = { priority: 1, handle: 0x7866 };

/** In this order: what is let in first, so that an answer finds its way. */
export const DIRECTIONS = ["ingress", "egress"] as const;

function find(ifindex: number, pins: PinDir, direction: TcDirection): TcLink | undefined {
  const link = findTc({ ifindex, direction, pin: pins.link(direction), ...CLSACT_PLACE });
  if (link === undefined || link.ifindex === ifindex) return link;
  link.close(); // of a device that is gone
  return undefined;
}

/** Kernel id of the program at the device's hook; null where there is none of ours. */
export function programAt(ifindex: number, pins: PinDir, direction: TcDirection): number | null {
  using link = find(ifindex, pins, direction);
  return link?.programId() || null;
}

/** Puts a program at the device's hook, in one step where one of ours is there already, and lets it outlive us. */
export function install(ifindex: number, pins: PinDir, direction: TcDirection, program: BpfProgram): void {
  using found = find(ifindex, pins, direction);
  if (found) {
    found.update(program);
    return;
  }
  unpin(pins.link(direction));
  // First, as with clsact: a program that lets packets pass before ours would spare them the check of their source.
  using link = attachTc({ ifindex, direction, program, order: "first", ...CLSACT_PLACE });
  link.persist(pins.link(direction));
}

export function detach(ifindex: number, pins: PinDir, direction: TcDirection): void {
  find(ifindex, pins, direction)?.detach();
}
