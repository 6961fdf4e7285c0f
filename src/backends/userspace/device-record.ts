import { closeSync, existsSync, readdirSync, readFileSync, rmSync, writeSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { tryLockFile } from "../../sys/lock.js";
import { runtimeDir } from "../../sys/runtime-dir.js";
import { BackendError } from "../errors.js";

/**
 * A file of root's that says which TUN device is an interface's, for as long as the device is there. Its lock is held by
 * the process that serves the interface, and ends with it: with the lock one may take the device over, or remove it.
 */
export class DeviceRecord {
  readonly #path: string;
  readonly #fd: number;

  private constructor(path: string, fd: number) {
    this.#path = path;
    this.#fd = fd;
  }

  /**
   * Takes the lock of an interface in the calling thread's network namespace.
   * @returns null where another process has it
   */
  static tryTake(interfaceName: string): DeviceRecord | null {
    const path = pathOf(interfaceName);
    const fd = tryLockFile(path);
    return fd === null ? null : new DeviceRecord(path, fd);
  }

  /**
   * Takes the lock as soon as the process that has it has ended.
   * @param why what is said after PATIENCE_MS
   * @throws BackendError
   */
  static async take(interfaceName: string, why: string): Promise<DeviceRecord> {
    const end = performance.now() + PATIENCE_MS;
    for (;;) {
      const record = DeviceRecord.tryTake(interfaceName);
      if (record !== null) return record;
      if (performance.now() > end) throw new BackendError(why);
      await delay(POLL_MS);
    }
  }

  /** The device as it was last written down; null where none was, or it says nothing that can be read. */
  read(): KnownDevice | null {
    try {
      const [line = ""] = readFileSync(this.#path, "utf8").split("\n");
      const { ifindex, addresses } = JSON.parse(line) as Partial<KnownDevice>;
      if (typeof ifindex !== "number" || !Array.isArray(addresses)) return null;
      return { ifindex, addresses: addresses.filter((each) => typeof each === "string") };
    } catch {
      return null;
    }
  }

  /** In one write of a line: a process that is killed leaves the line from before or this one. */
  write(device: KnownDevice): void {
    writeSync(this.#fd, `${JSON.stringify(device)}\n`, 0);
  }

  /** Ends the lock; the file stays where a device was written down. */
  close(): void {
    if (this.read() === null) rmSync(this.#path, { force: true });
    closeSync(this.#fd);
  }

  /** The device is gone: removes the file and ends the lock. */
  forget(): void {
    rmSync(this.#path, { force: true });
    closeSync(this.#fd);
  }
}

export interface KnownDevice {
  /** 0 from before the device is made until its number is known. */
  readonly ifindex: number;
  /** Given to it by the policy, as prefixes. */
  readonly addresses: readonly string[];
}

/** How long a process that was ended may take to give its queues back. */
const PATIENCE_MS = 5_000;
const POLL_MS = 20;
const SUFFIX = ".tun";

function pathOf(interfaceName: string): string {
  return join(runtimeDir(), `${interfaceName}${SUFFIX}`);
}

/** Interfaces of this network namespace whose device was made, whether a process serves them or not. */
export function recordedInterfaces(): string[] {
  if (!existsSync(runtimeDir())) return [];
  return readdirSync(runtimeDir())
    .filter((name) => name.endsWith(SUFFIX))
    .map((name) => name.slice(0, -SUFFIX.length));
}
