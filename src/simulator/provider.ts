import type { OffloadModule, OffloadSpec } from "../esp/messages.js";
import type { OffloadDevice, OffloadState } from "../esp/offload/contract.js";
import { OffloadCounters } from "../esp/offload/counters.js";
import type { OffloadAnswer, OffloadProvider } from "../esp/offload/provider.js";
import { type KernelVersion, type OffloadedState, OffloadStack, type Verdict } from "../esp/offload/stack.js";
import { contextSpec, createDevice, type SimulatedDevice } from "./device.js";
import type { FaultName } from "./faults.js";
import type { HardwareSpec } from "./hardware.js";
import type { Profile } from "./profile.js";

export interface SimulatorOptions {
  readonly profile: Profile;
  /** Names under which connections ask for a device of the profile; each is one of its own. */
  readonly devices: readonly string[];
  /** Whose rules the stack goes by. */
  readonly kernel: KernelVersion;
  readonly faults: readonly FaultName[];
  readonly seed: number;
}

/** A fault strikes one packet of so many. */
const ONE_IN = 4;

/** Simulated devices for a data path. */
export class SimulatedOffload implements OffloadProvider {
  readonly module: OffloadModule;
  readonly devices: ReadonlyMap<string, SimulatedDevice>;
  readonly stack: OffloadStack;
  readonly #profile: Profile;
  readonly #offloaded = new Map<OffloadSpec, OffloadedState>();

  constructor({ profile, devices, kernel, faults, seed }: SimulatorOptions) {
    const set = new Set(faults);
    this.#profile = profile;
    this.stack = new OffloadStack(kernel);
    this.devices = new Map(devices.map((name) => [name, createDevice(name, profile, set)]));
    const spec: HardwareSpec = {
      completion: profile.ports[0].completion ?? null,
      faults,
      seed,
      oneIn: ONE_IN,
    };
    this.module = { module: new URL("./hardware.js", import.meta.url).href, spec };
  }

  add(name: string, state: OffloadState): OffloadAnswer {
    const device = this.devices.get(name) ?? null;
    const verdict = this.stack.add(state, device);
    if (verdict.kind !== "offloaded" || device === null)
      return { spec: null, reason: inWords(verdict, name) };
    const { offload } = verdict;
    const spec: OffloadSpec = {
      type: state.type,
      context: contextSpec(device, this.#profile, offload.handle, state.direction),
      counters: new OffloadCounters().memory,
    };
    this.#offloaded.set(spec, offload);
    return { spec, reason: "" };
  }

  remove(spec: OffloadSpec): void {
    const offloaded = this.#offloaded.get(spec);
    if (offloaded === undefined || !this.#offloaded.delete(spec)) return;
    this.delete(offloaded);
  }

  /** Deletes an SA as `ip xfrm state delete` does: its policy stays. */
  delete(offloaded: OffloadedState): void {
    if (!this.stack.states.has(offloaded)) return;
    this.#kill(offloaded);
    this.stack.remove(offloaded);
    this.stack.free(offloaded);
  }

  /** NETDEV_DOWN: the stack deletes the SAs that the device has. */
  takeDown(device: SimulatedDevice): void {
    device.setUp(false);
    for (const offloaded of this.stack.states) if (offloaded.device === device) this.#kill(offloaded);
    this.stack.flush(device as OffloadDevice);
  }

  #kill({ device, handle }: OffloadedState): void {
    (device as SimulatedDevice).memoryOf(handle).alive = false;
  }
}

function inWords(verdict: Verdict, device: string): string {
  if (verdict.kind === "offloaded") return "";
  if (verdict.kind === "software") return verdict.reason;
  return `${device}: ${verdict.reason} (${verdict.errno}); added again without offload, as an IKE daemon does`;
}
