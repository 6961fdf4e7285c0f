import { randomBytes } from "node:crypto";
import type { OffloadState, OffloadType } from "../../../esp/offload/contract.js";
import { keymatSize } from "../../../esp/suite.js";
import type { FaultName } from "../../../simulator/faults.js";
import type { ContextSpec, HardwareSpec } from "../../../simulator/hardware.js";
import { Loopback, type LoopbackOptions, loopbackState } from "../../../simulator/loopback.js";
import type { Profile } from "../../../simulator/profile.js";
import { SimulatedOffload } from "../../../simulator/provider.js";

export const DEVICE = "sim0";

export interface AttachedOptions extends Omit<LoopbackOptions, "device" | "keymat"> {
  readonly type?: OffloadType;
  readonly faults?: readonly FaultName[];
  readonly keymat?: Uint8Array;
  /** The SAs as the driver is to see them; those of the loopback if left out. */
  readonly states?: { readonly out: OffloadState; readonly in: OffloadState };
}

export interface Attached {
  readonly loopback: Loopback;
  readonly offload: SimulatedOffload;
  /** Whether the device took the SA. */
  readonly out: boolean;
  readonly in: boolean;
}

/** A pair of SAs that were offered to a device of the profile; every packet is struck by the faults. */
export function attach(profile: Profile, options: AttachedOptions): Attached {
  const { type = "crypto", faults = [], keymat = randomBytes(keymatSize(options.suite)) } = options;
  const offload = new SimulatedOffload({ profile, devices: [DEVICE], kernel: [6, 12], faults, seed: 1 });
  const contexts = (["out", "in"] as const).map(
    (direction) =>
      (offload.add(DEVICE, options.states?.[direction] ?? loopbackState(direction, type, options)).spec
        ?.context as ContextSpec | undefined) ?? null,
  );
  const [out = null, into = null] = contexts;
  const hardware = { ...(offload.module.spec as HardwareSpec), oneIn: 1 };
  const loopback = new Loopback({ ...options, keymat, device: { type, hardware, out, in: into } });
  return { loopback, offload, out: out !== null, in: into !== null };
}
