import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { unpin } from "libbpf-ts";
import type { BackendName } from "../../config/policy.js";
import { namespaceFolder } from "../../sys/runtime-dir.js";
import { isAttached, makePinFolder, PIN_ROOT, removePinFolder } from "../kernel-bpf/pins.js";

/** Whose programs they are: an interface, and the backend that steers on it. */
export interface Owner {
  readonly backend: BackendName;
  readonly name: string;
}

const PROGRAM = "program-";
const LINK = "link-";

const folderOf = (backend: BackendName) => `underlay-${backend}-`;

/** Interfaces of the calling thread's network namespace for which a backend has such pins, live or left behind. */
export function pinnedOwners(backend: BackendName): string[] {
  const folder = join(PIN_ROOT, namespaceFolder());
  if (!existsSync(folder)) return [];
  return readdirSync(folder)
    .filter((name) => name.startsWith(folderOf(backend)))
    .map((name) => Buffer.from(name.slice(folderOf(backend).length), "hex").toString());
}

/**
 * Pins of one interface's underlay programs, in the calling thread's network namespace:
 *
 *   /run/xfrm-steer/bpf/net-COOKIE/underlay-BACKEND-NAME/      the name in hex, as bpffs refuses dots
 *     drops                counters, kept from one program to the next
 *     program-DIGEST       the program that is to run; DIGEST is of what it was made from besides the policy
 *     link-IFINDEX         tcx links by device; before Linux 6.6, filters of clsact belong to their devices instead
 */
export class UnderlayPins {
  readonly path: string;
  readonly drops: string;

  constructor({ backend, name }: Owner) {
    this.path = join(PIN_ROOT, namespaceFolder(), folderOf(backend) + Buffer.from(name).toString("hex"));
    this.drops = join(this.path, "drops");
  }

  get exists(): boolean {
    return existsSync(this.path);
  }

  link(ifindex: number): string {
    return join(this.path, `${LINK}${ifindex}`);
  }

  program(digest: string): string {
    return join(this.path, `${PROGRAM}${digest}`);
  }

  /** What the pinned program was made from; null where none is pinned. */
  digest(): string | null {
    return this.#names(PROGRAM)[0] ?? null;
  }

  /** Ifindexes of devices with a pinned link; pins of links whose devices are gone are removed. */
  links(): number[] {
    return this.#names(LINK).flatMap((number) => {
      const path = join(this.path, LINK + number);
      if (isAttached(path)) return [Number(number)];
      unpin(path);
      return [];
    });
  }

  /** @throws BackendError where pins would not last: see makePinFolder() */
  make(): Promise<void> {
    return makePinFolder(this.path);
  }

  remove(): Promise<void> {
    return removePinFolder(this.path);
  }

  #names(prefix: string): string[] {
    if (!this.exists) return [];
    return readdirSync(this.path)
      .filter((name) => name.startsWith(prefix))
      .map((name) => name.slice(prefix.length));
  }
}
