import type { Devices } from "../../compiler/compile.js";
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
import { HOST_DEVICES, noting, renumbered } from "../kernel/resolved-devices.js";
import { StateDir } from "../kernel/state-dir.js";
import { countedStatus, summarize } from "../kernel/summary.js";
import { ifindexOf, wantedLinkState } from "../link-setup.js";
import { planRoutes } from "./plan.js";
import { changeRoutes, readRoutes, routeText } from "./routes.js";
import type { State } from "./state.js";

const stateDir = (name: string) => new StateDir<State>(name, "kernel-lwt");
const linkNumber = (name: string) => findIfindex(name) ?? 0;

/** What is kept of a device that is still there. What was kept of another one is removed. */
function readState(name: string, found: Found | null = findDevice(name)): State | null {
  const state = stateDir(name).read();
  if (state === null) return null;
  demandSameName(name, state.device, found);
  const now = found?.external ? found.ifindex : null;
  if (now !== null && (state.device.ifindex === null || state.device.ifindex === now)) return state;
  stateDir(name).remove();
  return null;
}

/**
 * See Backend.apply. The caller holds the lock. Each route changes in one step, one after the other: packets to
 * different prefixes may meet the old and the new policy at the same time.
 */
export function applyPolicy(policy: Policy, devices: Devices = HOST_DEVICES): Applied {
  const { name } = policy.interface;
  const kept = stateDir(name);
  const started = performance.now();
  const noted = noting(devices);
  const routes = planRoutes(policy, noted.devices);
  const planned = performance.now();
  const found = findDevice(name);
  const before = readState(name, found);
  const wanted = wantedLinkState(policy);
  const number = (before?.running?.number ?? 0) + 1;
  undoable((onFailure) => {
    onFailure(() => (before ? kept.write(before) : kept.remove()));
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
    };
    kept.write({ device, addresses: wanted.addresses, running });
    kept.keepPolicies([number]);
  });
  return {
    generation: number,
    created: before === null,
    compileMs: planned - started,
    loadMs: performance.now() - planned,
    tableBytes: 0,
  };
}

/** See Backend.status. The kernel counts neither routes nor their metadata: all traffic says 0. */
export function readStatus(name: string): Status | null {
  const state = readState(name);
  if (state?.running == null) return null;
  const { running } = state;
  return {
    backend: "kernel-lwt",
    interface: name,
    ifindex: ifindexOf(name),
    generation: running.number,
    applied: running.applied,
    ...countedStatus(running.summary, NOTHING_COUNTED),
    drops: dataPathDrops(name),
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
};

/** See Backend.remove. The caller holds the lock. */
export function removeInterface(name: string): boolean {
  const state = readState(name);
  if (state === null) return false;
  changeRoutes(readRoutes(name, linkNumber), new Map());
  releaseDevice(name, state.device, state.addresses);
  stateDir(name).remove();
  return true;
}

/** See FollowingBackend.refresh. */
export function refresh(name: string): Applied | null {
  const running = readState(name)?.running;
  if (!running) return null;
  const devices = renumbered(running.devices);
  if (devices === null) return null;
  const policy = stateDir(name).readPolicy(running.number);
  if (policy === null) throw new BackendError(`the policy of ${name} is not kept any more; apply it again`);
  return applyPolicy(policy, devices);
}
