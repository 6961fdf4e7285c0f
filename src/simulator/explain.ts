import type { Policy } from "../config/policy.js";
import { offloadState } from "../esp/offload/sa-offloads.js";
import { DEFAULT_KERNEL, type KernelVersion } from "../esp/offload/stack.js";
import { parseAddress } from "../sys/sockaddr.js";
import { SimulatedBond } from "./bond.js";
import type { SimulatedNic } from "./nic.js";
import type { Profile } from "./profile.js";
import { SimulatedOffload } from "./provider.js";

/** Whether an SA would be offloaded, and why not. */
export interface Explained {
  readonly connection: string;
  readonly direction: "in" | "out";
  readonly spi: number;
  readonly device: string | null;
  readonly offloaded: boolean;
  readonly reason: string;
}

export interface Explanation {
  readonly sas: readonly Explained[];
  /** The devices' ports with the SAs in their tables. */
  readonly ports: readonly SimulatedNic[];
}

/** Offers every SA of a policy to a device of the profile, in the policy's order. Opens no key and sends nothing. */
export function explainOffload(
  policy: Policy,
  profile: Profile,
  kernel: KernelVersion = DEFAULT_KERNEL,
): Explanation {
  const names = [...new Set(policy.connections.flatMap(({ esp }) => esp?.offload?.device ?? []))];
  const devices = new SimulatedOffload({ profile, devices: names, kernel, faults: [], seed: 0 });
  const sas = policy.connections.flatMap(({ name, ifId, esp }): Explained[] => {
    if (esp === null) return [];
    const described = {
      ...esp,
      ifId,
      localAddress: parseAddress(esp.local),
      remoteAddress: parseAddress(esp.remote),
    };
    const device = esp.offload?.device ?? null;
    return (["in", "out"] as const).map((direction) => {
      const { spi } = esp[direction];
      const answer = device === null ? null : devices.add(device, offloadState(described, direction, spi));
      const { spec = null, reason = "the connection does not ask for offload" } = answer ?? {};
      return { connection: name, direction, spi, device, offloaded: spec !== null, reason };
    });
  });
  const ports = [...devices.devices.values()].flatMap((device) =>
    device instanceof SimulatedBond ? device.ports : [device as SimulatedNic],
  );
  return { sas, ports };
}
