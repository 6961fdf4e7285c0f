import { IpError, ipJson } from "./ip.js";

/** There is no such device, or no such group; the message says what to do. */
export class DeviceError extends Error {
  override readonly name = "DeviceError";
}

/** Network devices of the calling thread's network namespace, as they were when they were read. */
export interface DeviceList {
  /** @throws DeviceError where there is no such device */
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
      if (ifindex === undefined)
        throw new DeviceError(
          `there is no network device ${name} in this network namespace; make it first, or correct the name`,
        );
      return ifindex;
    },
    ifindexesOfGroup,
  };
}

/** See DeviceList. @throws DeviceError where there is no such group */
export function ifindexesOfGroup(group: string): readonly number[] {
  try {
    return ipJson<{ ifindex: number }>("link", "show", "group", group).map(({ ifindex }) => ifindex);
  } catch (error) {
    if (!(error instanceof IpError && error.said.includes(" is wrong"))) throw error;
    throw new DeviceError(
      `there is no device group ${group}; name it in /etc/iproute2/group, or write its number`,
    );
  }
}
