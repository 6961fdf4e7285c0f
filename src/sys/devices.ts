import { IpError, ipJson } from "./ip.js";

/** Network devices of the calling thread's network namespace, as they were when they were read. */
export interface DeviceList {
  /** @throws IpError where there is no such device */
  ifindexOf(name: string): number;
  /** Members of a device group, named as in iproute2's group file or by number. */
  ifindexesOfGroup(group: string): readonly number[];
}

/** Reads all names at once, when the first is asked for: a policy may name thousands. */
export function hostDevices(): DeviceList {
  let devices: Map<string, number> | null = null;
  return {
    ifindexOf: (name) => {
      devices ??= new Map(
        ipJson<{ ifindex: number; ifname: string }>("link", "show").map(({ ifname, ifindex }) => [
          ifname,
          ifindex,
        ]),
      );
      const ifindex = devices.get(name);
      if (ifindex === undefined) throw new IpError(["link", "show", "dev", name], "no such device");
      return ifindex;
    },
    ifindexesOfGroup,
  };
}

/** See DeviceList. @throws IpError where there is no such group */
export function ifindexesOfGroup(group: string): readonly number[] {
  return ipJson<{ ifindex: number }>("link", "show", "group", group).map(({ ifindex }) => ifindex);
}
