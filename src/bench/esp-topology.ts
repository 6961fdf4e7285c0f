/*
 *   left namespace                               right namespace
 *   v0 192.0.2.1 ============ veth ============ 192.0.2.2 v0
 */
import { type ChildProcess, spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { ip } from "../sys/ip.js";
import { Scope } from "../sys/scope.js";

export type Side = "left" | "right";
export const SIDES: readonly Side[] = ["left", "right"];

export const VETH_MTU = 1500;
/** Outer addresses, on the veth pair. */
export const OUTER: Readonly<Record<Side, string>> = { left: "192.0.2.1", right: "192.0.2.2" };
/** Inner addresses, for a subject to give to whatever its tunnel ends in. */
export const INNER: Readonly<Record<Side, string>> = { left: "10.9.0.1", right: "10.9.0.2" };

/** How long a daemon may take until it can be asked. */
const READY_MS = 10_000;
const POLL_MS = 50;

/**
 * Two namespaces joined by a veth pair, and whatever a subject puts into them. All of it goes with `remove`, or with the
 * process when it is interrupted.
 */
export class EspTopology {
  /** Names the process too, so that what one has left behind can be told. */
  readonly id = `${process.pid}-${randomBytes(3).toString("hex")}`;
  readonly netns: Readonly<Record<Side, string>> = {
    left: `xs-bench-${this.id}-l`,
    right: `xs-bench-${this.id}-r`,
  };
  readonly #scope = new Scope();
  readonly #stop: (() => Promise<void>)[] = [];

  /** Makes the namespaces; call `remove` also when this fails. @throws IpError */
  build(): void {
    for (const side of SIDES) {
      ip("netns", "add", this.netns[side]);
      this.#scope.defer(() => void ip("netns", "del", this.netns[side]));
    }
    const { left, right } = this.netns;
    ip("-n", left, "link", "add", "v0", "type", "veth", "peer", "name", "v0", "netns", right);
    for (const side of SIDES) {
      ip("-n", this.netns[side], "address", "add", `${OUTER[side]}/24`, "dev", "v0");
      ip("-n", this.netns[side], "link", "set", "v0", "up");
      ip("-n", this.netns[side], "link", "set", "lo", "up");
    }
  }

  /** Remembers what of this process `remove` is to stop, last first. */
  onRemove(stop: () => Promise<void>): void {
    this.#stop.push(stop);
  }

  /** A private folder. */
  folder(): string {
    const path = mkdtempSync(join(tmpdir(), "xs-bench-"));
    this.#scope.defer(() => rmSync(path, { recursive: true, force: true }));
    return path;
  }

  /** Starts a daemon in a namespace, with a /run of its own, so that two of the same do not find each other's files. */
  daemon(side: Side, command: readonly string[], env: Readonly<Record<string, string>>): ChildProcess {
    const inside = ["sh", "-c", 'mount -t tmpfs none /run && exec "$@"', "sh", ...command];
    const child = spawn("ip", ["netns", "exec", this.netns[side], ...inside], {
      stdio: "ignore",
      env: { ...process.env, ...env },
    });
    this.#scope.own(child);
    return child;
  }

  async remove(): Promise<void> {
    try {
      for (let stop = this.#stop.pop(); stop !== undefined; stop = this.#stop.pop()) await stop();
    } finally {
      this.#scope.close();
    }
  }
}

/** Tries again until it works. @throws what it throws last, or Error when the daemon has ended */
export async function untilReady<T>(daemon: ChildProcess, attempt: () => T | Promise<T>): Promise<T> {
  const deadline = Date.now() + READY_MS;
  for (;;) {
    try {
      return await attempt();
    } catch (error) {
      if (daemon.exitCode !== null)
        throw new Error(`${daemon.spawnargs.at(-1)} ended with ${daemon.exitCode}`);
      if (Date.now() > deadline) throw error;
    }
    await delay(POLL_MS);
  }
}
