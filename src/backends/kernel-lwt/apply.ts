import type { Devices } from "../../compiler/compile.js";
import type { Change } from "../../compiler/plan.js";
import type { Policy } from "../../config/policy.js";
import { findIfindex } from "../../sys/ifindex.js";
import { undoable } from "../../sys/undo.js";
import type { Applied, Status } from "../backend.js";
import { NO_TRAFFIC } from "../counters.js";
import { BackendError } from "../errors.js";
import { dataPathDrops } from "../kernel/data-path.js";
import {
  configureDevice,
  demandSameName,
  ensureDevice,
  type Found,
  findDevice,
  releaseDevice,
} from "../kernel/device.js";
import { packetsUnderWay } from "../kernel/grace.js";
import { heldResult, ifIdChanges } from "../kernel/if-id-text.js";
import { heldIfIds, type Applied as IfIdsApplied, NO_IF_IDS, planIfIds } from "../kernel/if-ids.js";
import { installedSas } from "../kernel/installed-sas.js";
import { HOST_DEVICES, noting, renumbered } from "../kernel/resolved-devices.js";
import { StateDir } from "../kernel/state-dir.js";
import { countedStatus, summarize } from "../kernel/summary.js";
import { ifindexOf, wantedLinkState } from "../link-setup.js";
import { underlayDrops, underlayStatus } from "../underlay/index.js";
import { planRoutes } from "./plan.js";
import { changeRoutes, readRoutes, routeText } from "./routes.js";
import type { State } from "./state.js";

const stateDir = (name: string) => new StateDir<State>(name, "kernel-lwt");
const linkNumber = (name: string) => findIfindex(name) ?? 0;

/** What is kept of a device that is still there. */
function readState(name: string, found: Found | null = findDevice(name)): State | null {
  const state = stateDir(name).read();
  if (state === null) return null;
  demandSameName(name, state.device, found);
  const now = found?.external ? found.ifindex : null;
  return now !== null && (state.device.ifindex === null || state.device.ifindex === now) ? state : null;
}

/** Whose if_ids were, also where the device is gone: its SAs may be there still. */
function lastApplied(name: string): IfIdsApplied | null {
  const running = stateDir(name).read()?.running;
  return running ? { connections: running.summary.connections, ifIds: running.ifIds ?? NO_IF_IDS } : null;
}

/** See Backend.ifIdChanges. */
export function readIfIdChanges({ interface: { name }, connections }: Policy): Change[] {
  return ifIdChanges(planIfIds(connections, lastApplied(name), installedSas));
}

/**
 * See Backend.apply. The caller holds the lock. Each route changes in one step, one after the other: packets to
 * different prefixes may meet the old and the new policy at the same time.
 */
export async function applyPolicy(
  policy: Policy,
  devices: Devices = HOST_DEVICES,
  { samePolicy = false } = {},
): Promise<Applied> {
  const { name } = policy.interface;
  const kept = stateDir(name);
  const applied = lastApplied(name);
  const ifIds = planIfIds(policy.connections, applied, installedSas, !samePolicy);
  const heldIds = new Set(ifIds.held.map(({ ifId }) => ifId));
  // What the SAs of before have let in has to be gone before this if_id leads anywhere.
  if (ifIds.opened.length > 0) await packetsUnderWay();
  const started = performance.now();
  const noted = noting(devices);
  const routes = planRoutes(policy, noted.devices, heldIds);
  const planned = performance.now();
  const found = findDevice(name);
  const last = kept.read();
  const before = readState(name, found);
  const wanted = wantedLinkState(policy);
  const number = (before?.running?.number ?? 0) + 1;
  const state = undoable((onFailure) => {
    onFailure(() => (last ? kept.write(last) : kept.remove()));
    const device = ensureDevice(name, before?.device ?? null, found, (made) =>
      kept.write({ device: made, addresses: [], running: null }),
    );
    const ours = before?.addresses ?? [];
    if (!before) onFailure(() => releaseDevice(name, device, []));
    kept.write({
      device,
      addresses: [...new Set([...ours, ...wanted.addresses])],
      running: before?.running ?? null,
    });
    onFailure(configureDevice(name, device, found, ours, wanted));
    const texts = routes.map((route) => routeText(name, route));
    const to = new Map(texts.map((text) => [text.split(" ")[0] as string, text]));
    const from = readRoutes(name, linkNumber);
    changeRoutes(from, to);
    onFailure(() => changeRoutes(to, from));
    kept.writePolicy(number, policy);
    const running = {
      number,
      applied: new Date().toISOString(),
      summary: summarize(policy),
      devices: noted.resolved(),
      ifIds: { kept: ifIds.kept, settled: ifIds.heldNow.size === 0 && (applied?.ifIds.settled ?? true) },
    };
    const written = { device, addresses: wanted.addresses, running };
    kept.write(written);
    kept.keepPolicies([number]);
    return written;
  });
  const loaded = performance.now();
  if (ifIds.heldNow.size > 0) {
    await packetsUnderWay();
    kept.write({ ...state, running: { ...state.running, ifIds: { kept: ifIds.kept, settled: true } } });
  }
  return {
    generation: number,
    created: before === null,
    compileMs: planned - started,
    loadMs: loaded - planned,
    tableBytes: 0,
    ...heldResult(ifIds, null),
  };
}

/** See Backend.status. The kernel counts neither routes nor their metadata: all traffic says 0. */
export function readStatus(name: string): Status | null {
  const state = readState(name);
  const applied = lastApplied(name);
  if (state?.running == null || applied === null) return null;
  const { running } = state;
  const underlay = underlayStatus({ backend: "kernel-lwt", name });
  return {
    backend: "kernel-lwt",
    interface: name,
    ifindex: ifindexOf(name),
    generation: running.number,
    applied: running.applied,
    ...countedStatus(running.summary, NOTHING_COUNTED),
    held: heldIfIds(applied),
    underlay,
    drops: { ...underlayDrops(underlay), ...dataPathDrops(name) },
  };
}

/** See Backend.loaded. */
export function readLoaded(name: string): Policy | null {
  const running = readState(name)?.running;
  return running ? stateDir(name).readPolicy(running.number) : null;
}

const NOTHING_COUNTED = {
  rules: new Map(),
  sent: new Map(),
  received: new Map(),
  badSource: new Map(),
  default: NO_TRAFFIC,
  malformed: NO_TRAFFIC,
  unknownIfId: NO_TRAFFIC,
  held: NO_TRAFFIC,
};

/** See Backend.remove. The caller holds the lock. */
export function removeInterface(name: string): boolean {
  const state = readState(name);
  if (state === null) {
    const wasThere = stateDir(name).read() !== null;
    stateDir(name).remove();
    return wasThere;
  }
  changeRoutes(readRoutes(name, linkNumber), new Map());
  releaseDevice(name, state.device, state.addresses);
  stateDir(name).remove();
  return true;
}

/** See FollowingBackend.refresh. */
export async function refresh(name: string): Promise<Applied | null> {
  const running = readState(name)?.running;
  if (!running) return null;
  const devices = renumbered(running.devices);
  if (devices === null) return null;
  const policy = stateDir(name).readPolicy(running.number);
  if (policy === null) throw new BackendError(`the policy of ${name} is not kept any more; apply it again`);
  return await applyPolicy(policy, devices, { samePolicy: true });
}
