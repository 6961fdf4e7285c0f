import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import {
  BpfMap,
  type BpfObject,
  BpfProgram,
  MissingFeatureError,
  MissingLibraryError,
  unpin,
} from "libbpf-ts";
import { asksForGuard, compileUnderlay, type Exemption, exemptions } from "../../compiler/underlay.js";
import type { Policy } from "../../config/policy.js";
import { listLinks } from "../../netlink/link.js";
import { namespaceFolder } from "../../sys/runtime-dir.js";
import type { Applied } from "../backend.js";
import { NO_TRAFFIC, type Traffic } from "../counters.js";
import { BackendError } from "../errors.js";
import { underlayDevices } from "./devices.js";
import { attachedDevices, detach, type Hooks, type Installed, install } from "./hooks.js";
import { type Outer, outerOf } from "./outer.js";
import { type Owner, UnderlayPins } from "./pins.js";
import { DROPS, loadUnderlay, PROGRAM, readDrops } from "./program.js";
import type { UnderlayStatus } from "./status.js";
import { steeringInterfaces } from "./steering-interfaces.js";

/** Programs of this process where pins would not last, by interface: their counters are found here only. */
const held = new Map<string, { readonly object: BpfObject; readonly digest: string }>();

/** Changes of one interface's programs, one after the other. */
const queues = new Map<string, Promise<unknown>>();

function queued<T>(owner: Owner, work: () => Promise<T>): Promise<T> {
  const key = keyOf(owner);
  const last = queues.get(key) ?? Promise.resolve();
  const next = last.then(work, work);
  queues.set(
    key,
    next.catch(() => {}),
  );
  return next;
}

/**
 * Runs an apply with the programs for its policy in force before it begins, on every device by which its encrypted packets
 * come or came. When it throws, what was in force before is again; else it ends on devices that are not used any more.
 *
 * @throws what `apply` throws; the errors of libbpf-ts and of netlink
 */
export function guardingUnderlay(
  owner: Owner,
  policy: Policy,
  apply: () => Applied | Promise<Applied>,
): Promise<Applied> {
  return queued(owner, async () => {
    const { change, warning } = await startOrWarn(owner, policy);
    let applied: Applied;
    try {
      applied = await apply();
    } catch (error) {
      await change.undo();
      throw error;
    }
    await change.commit();
    const warnings = [warning, applied.warning].filter((each) => each !== undefined);
    return warnings.length === 0 ? applied : { ...applied, warning: warnings.join("; ") };
  });
}

/** The backend of routes serves without BPF too, on kernels and machines that have none. */
async function startOrWarn(owner: Owner, policy: Policy): Promise<{ change: Change; warning?: string }> {
  try {
    return { change: await startChange(owner, policy, outerOf(policy, owner.backend)) };
  } catch (error) {
    const lacking = error instanceof MissingFeatureError || error instanceof MissingLibraryError;
    if (!lacking || owner.backend !== "kernel-lwt") throw error;
    const change = { undo: async () => {}, commit: async () => {} };
    return { change, warning: `plaintext from the underlay is not checked: ${error.message}` };
  }
}

/**
 * Makes the programs follow routing, and the exemptions the kernel's SAs. Without effect where the policy has no such check.
 *
 * @param policy that runs
 */
export function refreshUnderlay(owner: Owner, policy: Policy): Promise<void> {
  return queued(owner, async () => {
    if (!asksForGuard(policy)) return;
    const outer = outerOf(policy, owner.backend);
    const exempt = exemptions(policy, outer.peersOf);
    const digest = digestOf(exempt);
    const hooks = existingHooks(owner);
    const key = keyOf(owner);
    if ((hooks.pins?.digest() ?? held.get(key)?.digest) !== digest) {
      const change = await startChange(owner, policy, outer);
      await change.commit();
      return;
    }
    using program = hooks.pins ? BpfProgram.openPinned(hooks.pins.program(digest)) : null;
    const devices = underlayDevices(outer.routes, steeringInterfaces(owner.name));
    for (const ifindex of devices)
      install(hooks, ifindex, program ?? (held.get(key)?.object.program(PROGRAM) as BpfProgram))?.[
        Symbol.dispose
      ]();
    leaveOthers(hooks, devices);
  });
}

/** Takes all programs of an interface away. @returns false where there were none */
export function removeUnderlay(owner: Owner): Promise<boolean> {
  return queued(owner, () => removeAll(owner));
}

async function removeAll(owner: Owner): Promise<boolean> {
  const hooks = existingHooks(owner);
  const devices = attachedDevices(hooks);
  for (const ifindex of devices) detach(hooks, ifindex);
  await hooks.pins?.remove();
  letGo(keyOf(owner));
  return devices.length > 0 || hooks.pins !== null;
}

/** Null where an interface has no such programs. */
export function underlayStatus(owner: Owner): UnderlayStatus | null {
  const hooks = existingHooks(owner);
  const own = held.get(keyOf(owner));
  if (!hooks.pins && !own) return null;
  const names = new Map(listLinks().map(({ ifindex, name }) => [ifindex, name]));
  const devices = attachedDevices(hooks).flatMap((ifindex) => names.get(ifindex) ?? []);
  return { devices, refused: refused(hooks, own?.object) };
}

function refused({ pins }: Hooks, object: BpfObject | undefined): Traffic {
  if (!pins || !existsSync(pins.drops)) return object ? readDrops(object.map(DROPS)) : NO_TRAFFIC;
  using map = BpfMap.openPinned(pins.drops);
  return readDrops(map);
}

/** A process may see to interfaces of several namespaces, one after the other. */
const keyOf = ({ backend, name }: Owner) => `${namespaceFolder()} ${backend} ${name}`;

/** Of what is there. */
function existingHooks(owner: Owner): Hooks {
  const pins = new UnderlayPins(owner);
  return { owner, pins: pins.exists ? pins : null };
}

function letGo(key: string): void {
  held.get(key)?.object.close();
  held.delete(key);
}

/** Exemptions hang on SAs, which are not in the policy. */
function digestOf(exempt: readonly Exemption[]): string {
  const text = exempt.map(({ connection, family }) => `${connection.name} ${family}`).join("\n");
  return createHash("sha256").update(text).digest("hex").slice(0, 16);
}

interface Change {
  undo(): Promise<void>;
  commit(): Promise<void>;
}

/** Puts the programs for a policy in force beside those that are. When it throws, all is as before. */
async function startChange(owner: Owner, policy: Policy, outer: Outer): Promise<Change> {
  const exempt = exemptions(policy, outer.peersOf);
  const tables = asksForGuard(policy) ? compileUnderlay(policy, exempt) : null;
  // Not before the apply has succeeded: what runs until then wants them.
  if (tables === null) return { undo: async () => {}, commit: async () => void (await removeAll(owner)) };
  const digest = digestOf(exempt);
  const devices = underlayDevices(outer.routes, steeringInterfaces(owner.name));
  const hooks = await makeHooks(owner);
  const { pins } = hooks;
  const had = pins?.digest() ?? null;
  using drops = pins && existsSync(pins.drops) ? BpfMap.openPinned(pins.drops) : null;
  const object = loadUnderlay(tables, drops);
  const program = object.program(PROGRAM);
  const former = pins && had !== null ? BpfProgram.openPinned(pins.program(had)) : null;
  const done: Installed[] = [];
  const pin = (wanted: BpfProgram | null, as: string | null, instead: string | null) => {
    if (pins === null) return;
    if (instead !== null) unpin(pins.program(instead));
    if (wanted !== null && as !== null) wanted.pin(pins.program(as));
  };
  const close = () => {
    for (const each of done) each[Symbol.dispose]();
    former?.close();
  };
  const undo = async () => {
    try {
      for (const each of done.reverse()) each.undo();
      if (pins && had === null) await pins.remove();
      else pin(former, had, digest);
    } finally {
      close();
      object.close();
    }
  };
  try {
    if (pins && drops === null) object.map(DROPS).pin(pins.drops);
    pin(program, digest, had);
    for (const ifindex of devices) {
      const installed = install(hooks, ifindex, program);
      if (installed) done.push(installed);
    }
  } catch (error) {
    await undo().catch(() => {});
    throw error;
  }
  return {
    undo,
    commit: async () => {
      leaveOthers(hooks, devices);
      close();
      letGo(keyOf(owner));
      if (pins) object.close();
      else held.set(keyOf(owner), { object, digest });
    },
  };
}

async function makeHooks(owner: Owner): Promise<Hooks> {
  const pins = new UnderlayPins(owner);
  try {
    await pins.make();
    return { owner, pins };
  } catch (error) {
    // A mount namespace of its own, as under `ip netns exec`; the programs of kernel-bpf need pins all the same.
    if (error instanceof BackendError && owner.backend !== "kernel-bpf") return { owner, pins: null };
    throw error;
  }
}

function leaveOthers(hooks: Hooks, devices: readonly number[]): void {
  for (const ifindex of attachedDevices(hooks)) if (!devices.includes(ifindex)) detach(hooks, ifindex);
}
