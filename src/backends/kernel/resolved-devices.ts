import type { Devices } from "../../compiler/compile.js";
import { ifindexesOfGroup } from "../../sys/devices.js";
import { findIfindex } from "../../sys/ifindex.js";
import { ifindexOf } from "../link-setup.js";

/** Of the calling thread's network namespace. */
export const HOST_DEVICES: Devices = { ifindexOf, ifindexesOfGroup };

/** Numbers that a generation was compiled with: of the devices that its policy names, and of device groups' members. */
export interface ResolvedDevices {
  readonly devices: readonly (readonly [name: string, ifindex: number])[];
  readonly groups: readonly (readonly [name: string, ifindexes: readonly number[]])[];
}

/** Notes what `asked` answers, so that a device that comes back under another number can be noticed. */
export function noting(asked: Devices): { devices: Devices; resolved(): ResolvedDevices } {
  const devices = new Map<string, number>();
  const groups = new Map<string, readonly number[]>();
  return {
    resolved: () => ({ devices: [...devices], groups: [...groups] }),
    devices: {
      ifindexOf: (name) => {
        const ifindex = devices.get(name) ?? asked.ifindexOf(name);
        devices.set(name, ifindex);
        return ifindex;
      },
      ifindexesOfGroup: (name) => {
        const ifindexes = groups.get(name) ?? asked.ifindexesOfGroup(name);
        groups.set(name, ifindexes);
        return ifindexes;
      },
    },
  };
}

/** The devices as they are now, to compile with anew; one that is gone keeps the number that it had. */
export function lastKnown({ devices }: ResolvedDevices): Devices {
  const known = new Map(devices);
  return { ...HOST_DEVICES, ifindexOf: (name) => findIfindex(name) ?? known.get(name) ?? ifindexOf(name) };
}

/** As lastKnown(); null where all have the numbers that they had. */
export function renumbered(resolved: ResolvedDevices): Devices | null {
  const { devices, groups } = resolved;
  const now = lastKnown(resolved);
  const same = (a: readonly number[], b: readonly number[]) =>
    a.length === b.length && a.every((ifindex) => b.includes(ifindex));
  if (
    devices.every(([name, ifindex]) => now.ifindexOf(name) === ifindex) &&
    groups.every(([name, ifindexes]) => same(ifindexes, ifindexesOfGroup(name)))
  )
    return null;
  return now;
}
