import { type BpfObject, BpfProgram } from "libbpf-ts";
import { compile, type Devices } from "../../compiler/compile.js";
import type { Policy } from "../../config/policy.js";
import { withBuiltProgram } from "../../program/build.js";
import { loadSteering } from "../../program/load.js";
import { undoable } from "../../sys/undo.js";
import type { Applied } from "../backend.js";
import { BackendError } from "../errors.js";
import {
  configureDevice,
  demandNoQueue,
  demandSameName,
  ensureDevice,
  ensureKfuncs,
  type Found,
  findDevice,
  releaseDevice,
} from "../kernel/device.js";
import { packetsUnderWay } from "../kernel/grace.js";
import { heldResult } from "../kernel/if-id-text.js";
import { planIfIds } from "../kernel/if-ids.js";
import { installedSas } from "../kernel/installed-sas.js";
import { HOST_DEVICES, noting, renumbered } from "../kernel/resolved-devices.js";
import { StateDir } from "../kernel/state-dir.js";
import { summarize } from "../kernel/summary.js";
import { type LinkState, wantedLinkState } from "../link-setup.js";
import { LIVE_FLOWS_MAX, LiveFlows, liveFlowMaps } from "../live-flows.js";
import { DIRECTIONS, detach, install } from "./hooks.js";
import { type Installed, lastApplied, readInstalled, sumCounters } from "./installed.js";
import { PinDir } from "./pins.js";
import { type GenerationRecord, type State, saveCounters } from "./state.js";

/**
 * See Backend.apply. The caller holds the lock. What a reader of the hook sees at any time, and so what is left where
 * the process is killed: the old program or the new one, in each direction. The steps:
 *
 * 1. load the new generation, with the flows that were added to the old: nothing outside of this process
 * 2. make the device where there is none
 * 3. pin the new generation's programs and counters, then write it down beside the old one
 * 4. put its programs at the hooks
 * 5. where it holds if_ids, wait for the packets that were under way
 * 6. add up and write down the old counters without the old generation, then unpin that
 */
export async function applyPolicy(
  given: Policy,
  devices: Devices = HOST_DEVICES,
  { liveFlows = false, samePolicy = false }: ApplyOptions = {},
): Promise<Applied> {
  const policy = await withBuiltProgram(given);
  const { name } = policy.interface;
  const kept = new StateDir<State>(name, "kernel-bpf");
  const found = findDevice(name);
  if (found !== null) demandNoQueue(name, found);
  const installed = readInstalled(name, kept, found);
  if (installed !== null) demandSameName(name, installed.state.device, found);
  const applied = lastApplied(installed);
  const ifIds = planIfIds(policy.connections, applied, installedSas, !(liveFlows || samePolicy));
  const heldIds = new Set(ifIds.held.map(({ ifId }) => ifId));
  // What the SAs of before have let in has to be gone before this if_id lets anything in.
  if (ifIds.opened.length > 0) await packetsUnderWay();
  const started = performance.now();
  const noted = noting(devices);
  const generation = compile(policy, noted.devices, undefined, heldIds);
  const compiled = performance.now();
  ensureKfuncs();
  const before = await dropStale(installed);
  // Of a device that is gone it still tells whose if_ids were.
  const leaveKept = () => (before === null && installed ? kept.write(installed.state) : kept.remove());
  using flowsBefore = openLiveFlows(kept, before);
  // Looking for them costs every packet: only where somebody has added some.
  const takesFlows = liveFlows || flowsBefore?.live.empty === false;
  using object = loadSteering("xfrm", generation, policy, takesFlows ? { liveFlows: LIVE_FLOWS_MAX } : {});
  if (takesFlows && flowsBefore) LiveFlows.of(object, policy).carryOver(flowsBefore.live, samePolicy);
  const loaded = performance.now();

  const device = undoable((onFailure) =>
    ensureDevice(name, before?.state.device ?? null, found, (made) => {
      onFailure(leaveKept);
      kept.write({ device: made, carried: null, generations: [] });
    }),
  );
  const wanted = wantedLinkState(policy);
  const state: State = {
    device,
    carried: before?.state.carried ?? null,
    generations: before?.state.generations ?? [],
  };
  const number = Math.max(0, ...state.generations.map((record) => record.number)) + 1;
  const record: GenerationRecord = {
    number,
    applied: new Date().toISOString(),
    programs: {
      egress: object.program("xfrm_egress").info().id,
      ingress: object.program("xfrm_ingress").info().id,
    },
    addresses: wanted.addresses,
    summary: summarize(policy),
    devices: noted.resolved(),
    ifIds: { kept: ifIds.kept, settled: ifIds.heldNow.size === 0 && (applied?.ifIds.settled ?? true) },
  };
  const pins = new PinDir(device.ifindex);
  try {
    await pins.make();
    pins.keepGenerations(state.generations.map((old) => old.number));
    pins.pinGeneration(number, object, takesFlows ? liveFlowMaps(object, policy) : null);
    kept.writePolicy(number, policy);
    kept.write({ ...state, generations: [...state.generations, record] });
    putToWork({
      name,
      ifindex: device.ifindex,
      pins,
      state,
      found,
      running: before?.running ?? null,
      object,
      wanted,
    });
  } catch (error) {
    await giveUp({ name, kept, state, pins, hadGeneration: before?.running != null, leaveKept });
    throw error;
  }
  if (ifIds.heldNow.size > 0) await packetsUnderWay();
  const failure = failureOf(() => {
    const counters = sumCounters(state, pins, state.generations);
    const settled = { ...record, ifIds: { kept: ifIds.kept, settled: true } };
    kept.write({ device, carried: counters && saveCounters(counters), generations: [settled] });
    kept.keepPolicies([number]);
    pins.keepGenerations([number]);
  });
  return {
    generation: number,
    created: before?.running == null,
    compileMs: compiled - started,
    loadMs: loaded - compiled,
    tableBytes: Object.values(generation.tables).reduce((sum, { length }) => sum + length, 0),
    ...heldResult(ifIds, failure && `the generation before could not be taken away: ${failure}`),
  };
}

interface ApplyOptions {
  /** Make room for flows that are added to what runs; the policy is the one that runs. */
  readonly liveFlows?: boolean;
  /** The policy is the one that runs. */
  readonly samePolicy?: boolean;
}

/** Of work behind the swap, which cannot make an apply fail any more: packets follow the new generation. */
function failureOf(work: () => void): string | null {
  try {
    work();
    return null;
  } catch (error) {
    return (error as Error).message;
  }
}

/** The flows that were added to what runs, for the caller to close. */
export function openLiveFlows(
  kept: StateDir<State>,
  installed: Installed | null,
): ({ live: LiveFlows; policy: Policy } & Disposable) | null {
  if (!installed?.running || installed.pins === null) return null;
  const maps = installed.pins.openLiveFlows(installed.running.number);
  if (maps === null) return null;
  const policy = kept.readPolicy(installed.running.number);
  if (policy === null) {
    maps[Symbol.dispose]();
    return null;
  }
  return { live: new LiveFlows(maps, policy), policy, [Symbol.dispose]: maps[Symbol.dispose] };
}

/** Programs before a device is up, so that no packet meets it without; settings before the swap where it is. */
function putToWork(work: {
  name: string;
  ifindex: number;
  pins: PinDir;
  state: State;
  found: Found | null;
  running: GenerationRecord | null;
  object: BpfObject;
  wanted: LinkState;
}): void {
  const { name, ifindex, pins, state, found, running, object, wanted } = work;
  const ours = state.generations.flatMap(({ addresses }) => addresses);
  undoable((onFailure) => {
    const settings = () => onFailure(configureDevice(name, state.device, found, ours, wanted));
    const programs = () => {
      for (const direction of DIRECTIONS) {
        onFailure(() => restoreProgram(ifindex, pins, direction, running));
        install(ifindex, pins, direction, object.program(`xfrm_${direction}`));
      }
    };
    for (const step of running ? [settings, programs] : [programs, settings]) step();
  });
}

function restoreProgram(
  ifindex: number,
  pins: PinDir,
  direction: (typeof DIRECTIONS)[number],
  running: GenerationRecord | null,
): void {
  if (running === null) {
    detach(ifindex, pins, direction);
    return;
  }
  using program = BpfProgram.openPinned(pins.generation(running.number, `xfrm_${direction}`));
  install(ifindex, pins, direction, program);
}

/** Takes back what a failed apply left outside of the hooks. */
async function giveUp(failed: {
  name: string;
  kept: StateDir<State>;
  state: State;
  pins: PinDir;
  hadGeneration: boolean;
  leaveKept: () => void;
}): Promise<void> {
  const { name, kept, state, pins, hadGeneration, leaveKept } = failed;
  if (hadGeneration) {
    const numbers = state.generations.map(({ number }) => number);
    kept.write(state);
    kept.keepPolicies(numbers);
    pins.keepGenerations(numbers);
    return;
  }
  if (state.device.ifindex !== null)
    for (const direction of DIRECTIONS) detach(state.device.ifindex, pins, direction);
  await pins.remove();
  releaseDevice(name, state.device, []);
  leaveKept();
}

/** Unpins what was of a device that is gone: it means nothing for one that has its name now. */
async function dropStale(installed: Installed | null): Promise<Installed | null> {
  if (installed === null || installed.ifindex !== null) return installed;
  await installed.pins?.remove();
  return null;
}

/** See Backend.remove. The caller holds the lock. */
export async function removeInterface(name: string): Promise<boolean> {
  const kept = new StateDir<State>(name, "kernel-bpf");
  const found = findDevice(name);
  const installed = readInstalled(name, kept, found);
  if (installed === null) return false;
  const { state, ifindex, pins } = installed;
  demandSameName(name, state.device, found);
  if (ifindex !== null && pins !== null) {
    // The device first: as long as it is up, its programs check what comes in.
    releaseDevice(
      name,
      state.device,
      state.generations.flatMap(({ addresses }) => addresses),
    );
    if (state.device.original !== null) for (const direction of DIRECTIONS) detach(ifindex, pins, direction);
  }
  await pins?.remove();
  kept.remove();
  return true;
}

/** See FollowingBackend.refresh. The caller holds the lock. */
export async function refresh(name: string): Promise<Applied | null> {
  const kept = new StateDir<State>(name, "kernel-bpf");
  const running = readInstalled(name, kept)?.running;
  if (!running) return null;
  const devices = renumbered(running.devices);
  if (devices === null) return null;
  const policy = kept.readPolicy(running.number);
  if (policy === null) throw new BackendError(`the policy of ${name} is not kept any more; apply it again`);
  return await applyPolicy(policy, devices, { samePolicy: true });
}
