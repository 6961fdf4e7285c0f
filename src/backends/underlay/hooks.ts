import { constants } from "node:os";
import { attachTc, BpfError, BpfProgram, findClsact, type TcLink, TcxLink, unpin } from "libbpf-ts";
import { listLinks } from "../../netlink/link.js";
import type { Owner, UnderlayPins } from "./pins.js";

/** Where an owner's programs are found again: pins, or where there are none the place of its clsact filters. */
export interface Hooks {
  readonly owner: Owner;
  /** Null: pins would not last, and filters of clsact serve, which belong to their devices. */
  readonly pins: UnderlayPins | null;
}

/** Each interface has a filter of its own on a device; the handle tells it from others (FNV-1a, 24 bits). */
function placeOf({ name }: Owner, ifindex: number) {
  const hash = Buffer.from(name).reduce((hash, byte) => Math.imul(hash ^ byte, 0x01000193), 0x811c9dc5);
  return {
    ifindex,
    direction: "ingress",
    priority: 1,
    handle: (0x78000000 | (hash & 0xffffff)) >>> 0,
  } as const;
}

function find({ owner, pins }: Hooks, ifindex: number): TcLink | undefined {
  if (pins?.links().includes(ifindex)) return TcxLink.openPinned(pins.link(ifindex));
  return findClsact(placeOf(owner, ifindex));
}

/** Ifindexes of the devices that have an owner's program. */
export function attachedDevices(hooks: Hooks): number[] {
  const pinned = hooks.pins?.links() ?? [];
  const filtered = listLinks()
    .map(({ ifindex }) => ifindex)
    .filter(
      (ifindex) => !pinned.includes(ifindex) && findClsact(placeOf(hooks.owner, ifindex)) !== undefined,
    );
  return [...pinned, ...filtered].sort((a, b) => a - b);
}

/** Kernel id of the owner's program at a device's ingress; null where there is none. */
export function programAt(hooks: Hooks, ifindex: number): number | null {
  using link = find(hooks, ifindex);
  return link?.programId() || null;
}

/** What install() did, until it is certain that it stays. */
export interface Installed extends Disposable {
  undo(): void;
}

/**
 * Puts a program at a device's ingress, in one step where one of the owner's is there, and lets it outlive this process.
 *
 * @returns null where it ran there already, or the device is gone
 */
export function install(hooks: Hooks, ifindex: number, program: BpfProgram): Installed | null {
  const { owner, pins } = hooks;
  using found = find(hooks, ifindex);
  if (!found) return attach(hooks, ifindex, program) ? undone(() => detach(hooks, ifindex)) : null;
  const id = found.programId();
  if (id === program.info().id) return null;
  const before = BpfProgram.fromId(id); // held, as nothing else may hold it from now on
  try {
    found.update(program);
  } catch (error) {
    before.close();
    throw error;
  }
  return undone(
    () => {
      using link = find({ owner, pins }, ifindex);
      link?.update(before);
    },
    () => before.close(),
  );
}

function undone(undo: () => void, dispose: () => void = () => {}): Installed {
  return { undo, [Symbol.dispose]: dispose };
}

function attach({ owner, pins }: Hooks, ifindex: number, program: BpfProgram): boolean {
  try {
    // First: a program that lets packets pass before ours would spare them the check.
    using link = attachTc({
      program,
      order: "first",
      mode: pins === null ? "clsact" : "auto",
      ...placeOf(owner, ifindex),
    });
    if (pins) unpin(pins.link(ifindex));
    link.persist(pins?.link(ifindex) ?? "");
    return true;
  } catch (error) {
    if (error instanceof BpfError && error.errno === constants.errno.ENODEV) return false;
    throw error;
  }
}

/** Takes an owner's program away from a device. */
export function detach(hooks: Hooks, ifindex: number): void {
  find(hooks, ifindex)?.detach();
}
