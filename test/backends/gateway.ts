/**
 * Two namespaces with an xfrm-steer each, for tests of the userspace backend:
 *
 *      hub                          site
 *   10.0.0.1  fd00::1            10.1.0.1  fd00:1::1
 *     [ ipsec0 ]                   [ ipsec0 ]
 *      192.0.2.1 --- wan --- wan --- 192.0.2.2
 */

import { type ChildProcessWithoutNullStreams, spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { ExecutionContext } from "ava";
import type { Status } from "../../src/backends/backend.js";
import { PacketSocket } from "../../src/selftest/netns-socket.js";
import { inNetns } from "../../src/sys/netns.js";
import { clearRuntimeDir, runtimeDir } from "../../src/sys/runtime-dir.js";
import { CLI, execute, type Ran, xfrmSteer } from "../support/cli.js";

export const ESP = {
  hub: "{local: 192.0.2.1, remote: 192.0.2.2, suite: aes128-gcm, out: {spi: 0x1001, key: file:keys/out.key}, in: {spi: 0x1002, key: file:keys/in.key}}",
  site: "{local: 192.0.2.2, remote: 192.0.2.1, suite: aes128-gcm, out: {spi: 0x1002, key: file:keys/in.key}, in: {spi: 0x1001, key: file:keys/out.key}}",
} as const;

export const HUB_POLICY = `version: 1
interface: {name: ipsec0, addresses: [10.0.0.1/32, "fd00::1/128"]}
connections:
  site: {if_id: 101, subnets: [10.1.0.0/16, "fd00:1::/48"], esp: ${ESP.hub}}
`;

export const SITE_POLICY = `version: 1
interface: {name: ipsec0, addresses: [10.1.0.1/32, "fd00:1::1/128"]}
connections:
  hub: {if_id: 7, subnets: [10.0.0.0/16, "fd00::/64"], esp: ${ESP.site}}
`;

type Node = "hub" | "site";

/** How long to wait for echo replies that are not to come. */
export const LOSS_S = 0.3;

export class Gateway {
  readonly #netns: Readonly<Record<Node, string>>;
  readonly #folder: string;

  private constructor(netns: Readonly<Record<Node, string>>, folder: string) {
    this.#netns = netns;
    this.#folder = folder;
  }

  /** The node's network namespace. */
  name(node: Node): string {
    return this.#netns[node];
  }

  /** Where a node's services keep what belongs to them. */
  runtimeDir(node: Node): string {
    return inNetns(this.#netns[node], runtimeDir);
  }

  /** Builds the namespaces; the test's teardown takes everything away. Nothing is applied yet. */
  static async build(t: ExecutionContext): Promise<Gateway> {
    const id = randomBytes(3).toString("hex");
    const netns = { hub: `xst-${id}-hub`, site: `xst-${id}-site` };
    const folder = mkdtempSync(join(tmpdir(), "xfrm-steer-test-"));
    const gateway = new Gateway(netns, folder);
    t.teardown(async () => {
      for (const node of ["hub", "site"] as const) {
        if (!existsSync(`/run/netns/${netns[node]}`)) continue;
        await gateway.cli(node, "unload").catch(() => {});
        clearRuntimeDir(netns[node]);
        await execute("ip", ["netns", "delete", netns[node]]);
      }
      rmSync(folder, { recursive: true, force: true });
    });
    mkdirSync(join(folder, "keys"));
    for (const name of ["out", "in"])
      writeFileSync(join(folder, "keys", `${name}.key`), randomBytes(20).toString("hex"), { mode: 0o600 });
    for (const node of ["hub", "site"] as const) await must("ip", "netns", "add", netns[node]);
    await must(
      "ip",
      "-n",
      netns.hub,
      "link",
      "add",
      "wan",
      "type",
      "veth",
      "peer",
      "name",
      "wan",
      "netns",
      netns.site,
    );
    for (const [node, address] of [
      ["hub", "192.0.2.1/24"],
      ["site", "192.0.2.2/24"],
    ] as const) {
      await gateway.ip(node, "address add", address, "dev wan");
      await gateway.ip(node, "link set wan up");
      await gateway.ip(node, "link set lo up");
    }
    return gateway;
  }

  /** Applies both policies and routes each side's addresses into its interface. */
  async up(hub = HUB_POLICY, site = SITE_POLICY): Promise<void> {
    for (const [node, policy] of [
      ["hub", hub],
      ["site", site],
    ] as const) {
      const { code, stderr } = await this.apply(node, policy);
      if (code !== 0) throw new Error(`apply on ${node}: ${stderr}`);
    }
    await this.#routeInto("hub", "10.1.0.0/16", "fd00:1::/48");
    await this.#routeInto("site", "10.0.0.0/16", "fd00::/64");
  }

  /** Where the policy has `routes: true` they are there already. */
  async #routeInto(node: Node, ...destinations: string[]): Promise<void> {
    for (const destination of destinations) {
      const family = destination.includes(":") ? "-6" : "-4";
      if ((await this.ip(node, family, "route show", destination, "dev ipsec0")) === "")
        await this.ip(node, "route add", destination, "dev ipsec0");
    }
  }

  /** Writes a policy beside the keys and applies it. */
  async apply(node: Node, policy: string, ...options: string[]): Promise<Ran> {
    return await this.cli(node, "apply", this.write(`${node}.yaml`, policy), ...options);
  }

  write(name: string, text: string): string {
    const path = join(this.#folder, name);
    writeFileSync(path, text);
    return path;
  }

  cli(node: Node, ...args: string[]): Promise<Ran> {
    return xfrmSteer("--netns", this.#netns[node], ...args);
  }

  /** Sees every frame of a device from now on; the caller closes it. */
  capture(node: Node, device: string): PacketSocket {
    return new PacketSocket(`/run/netns/${this.#netns[node]}`, device);
  }

  /** Kills the processes that serve the namespace's interface, and waits until they are gone. */
  async kill(node: Node, signal: NodeJS.Signals = "SIGKILL"): Promise<void> {
    for (const pid of await this.servers(node)) process.kill(pid, signal);
    for (let i = 0; i < 500 && (await this.servers(node)).length > 0; i++) await sleep(20);
  }

  /** Takes the namespace's name away; whoever is in it stays. */
  async deleteNamespace(node: Node): Promise<void> {
    await must("ip", "netns", "delete", this.#netns[node]);
  }

  /** Starts `xfrm-steer`, with these variables besides; the caller ends it. */
  start(node: Node, ...words: (string | Readonly<Record<string, string>>)[]): ChildProcessWithoutNullStreams {
    const args = words.filter((word) => typeof word === "string");
    const env = Object.assign({ ...process.env }, ...words.filter((word) => typeof word !== "string"));
    return spawn(process.execPath, [CLI, "--netns", this.#netns[node], ...args], { env });
  }

  /** The connection's keys, in hex. */
  keys(): string[] {
    return ["out", "in"].map((name) => readFileSync(join(this.#folder, "keys", `${name}.key`), "utf8"));
  }

  async status(node: Node): Promise<Status> {
    const { code, stdout, stderr } = await this.cli(node, "status", "ipsec0", "--json");
    if (code !== 0) throw new Error(`status on ${node}: ${stderr}`);
    return (JSON.parse(stdout) as [Status])[0];
  }

  /** `ip` with words that may hold several arguments. */
  async ip(node: Node, ...words: string[]): Promise<string> {
    return await must("ip", "-n", this.#netns[node], ...words.flatMap((word) => word.split(" ")));
  }

  /** Runs a program in a namespace. */
  exec(node: Node, program: string, ...args: string[]): Promise<Ran> {
    return execute("ip", ["netns", "exec", this.#netns[node], program, ...args]);
  }

  /**
   * Echo replies from the hub's view.
   *
   * @param waitS how long to wait for those that do not come: LOSS_S where none is expected
   */
  async ping(to: string, from: string, count = 3, waitS = 5): Promise<number> {
    // All at once, and an interval instead: where some answers have come, ping waits for the others only so long.
    const patience = ["-l", `${count}`, "-i", `${waitS}`, "-W", `${waitS}`];
    const { stdout, stderr } = await this.exec(
      "hub",
      "ping",
      "-qn",
      "-c",
      `${count}`,
      ...patience,
      "-I",
      from,
      to,
    );
    const received = /(\d+) received/.exec(stdout)?.[1];
    if (received === undefined) throw new Error(`ping: ${stdout}${stderr}`);
    return Number(received);
  }

  /** Echo requests, five at a time, from before `work` begins until after it is done. */
  async pingDuring(
    to: string,
    from: string,
    work: () => Promise<void>,
  ): Promise<{ sent: number; received: number }> {
    const total = { sent: 0, received: 0 };
    let working = true;
    const traffic = async () => {
      while (working) {
        total.received += await this.ping(to, from, 5);
        total.sent += 5;
      }
    };
    const change = work().finally(() => {
      working = false;
    });
    await Promise.all([traffic(), change]);
    return total;
  }

  /** Ids of the processes that serve this namespace's interface. */
  async servers(node: Node): Promise<number[]> {
    const pids = (await must("ip", "netns", "pids", this.#netns[node])).split("\n").filter(Boolean);
    return pids.map(Number);
  }
}

async function must(program: string, ...args: string[]): Promise<string> {
  const { code, stdout, stderr } = await execute(program, args);
  if (code !== 0) throw new Error(`${program} ${args.join(" ")}: ${stderr}`);
  return stdout;
}
