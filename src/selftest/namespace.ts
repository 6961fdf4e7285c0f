import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { readFileSync, writeFileSync } from "node:fs";
import { clearRuntimeDir } from "../sys/runtime-dir.js";
import { type CommandResult, command, tryCommand } from "./command.js";
import {
  type LinkCounters,
  parseLinkCounters,
  parseSaCounters,
  parseXfrmStat,
  type SaCounters,
} from "./counters.js";
import { IpBatch, IpBatchError } from "./ip-batch.js";
import { inNamespace } from "./netns.js";
import { PATIENCE_MS } from "./patience.js";

export interface PingOptions {
  /** Echo requests to send; default 3. */
  count?: number;
  /** Payload bytes; ping's default is 56. */
  size?: number;
  /** How long to wait for answers that do not come: LOSS_MS where none is expected; default 10 s. */
  waitMs?: number | undefined;
  /** Further arguments of ping (iputils). */
  args?: readonly string[];
}

export interface PingResult {
  sent: number;
  received: number;
}

/** An `ip` command line that the kernel or iproute2 refused. Key material is cut out of the message. */
export class IpError extends Error {
  constructor(namespace: string, line: string, said: string) {
    super(`ip in ${namespace}: ${withoutKeys(line.trim())}: ${said}`);
    this.name = "IpError";
  }
}

/** A network namespace of a scenario. */
export class Namespace {
  /** As the scenario calls it. */
  readonly name: string;
  /** As the system calls it: /run/netns/HANDLE. */
  readonly handle: string;
  private readonly batch: IpBatch;
  private readonly processes = new Set<ChildProcess>();

  /**
   * Makes the namespace, with its loopback device up. Devices get no IPv6 link-local address by themselves: its
   * traffic (neighbour discovery, multicast reports) would blur the counters.
   */
  constructor(name: string, handle: string) {
    this.name = name;
    this.handle = handle;
    this.batch = new IpBatch(handle);
    const added = spawnSync("ip", ["netns", "add", handle], { encoding: "utf8" });
    if (added.status !== 0)
      throw new IpError(name, `netns add ${handle}`, added.stderr || String(added.error));
    this.sysctl("net/ipv6/conf/default/addr_gen_mode", 1); // IN6_ADDR_GEN_MODE_NONE, <linux/if_link.h>
    inNamespace(this.path, () => spawnSync("ip", ["link", "set", "lo", "up"]));
  }

  get path(): string {
    return `/run/netns/${this.handle}`;
  }

  /**
   * Runs `ip` command lines (without the word "ip"), one a line.
   * @returns what they print.
   * @throws IpError at the first line that fails; the lines after it are not run.
   */
  async ip(lines: string): Promise<string> {
    const list = lines.split("\n").map((line) => line.trim());
    try {
      return await this.batch.run(list.filter(Boolean));
    } catch (error) {
      if (!(error instanceof IpBatchError)) throw error;
      throw new IpError(this.name, error.line, error.message);
    }
  }

  /** Runs a program inside and collects its output. Any status is a result. */
  exec(file: string, ...args: string[]): Promise<CommandResult> {
    return this.try(file, args);
  }

  /** Starts a program inside. It ends with the scenario, if it does not by itself. */
  start(file: string, ...args: string[]): ChildProcess {
    const child = inNamespace(this.path, () => spawn(file, args, { stdio: ["ignore", "pipe", "pipe"] }));
    this.processes.add(child);
    child.once("exit", () => this.processes.delete(child));
    return child;
  }

  /** Sends echo requests, all at once, and counts them and their answers. */
  async ping(address: string, options: PingOptions = {}): Promise<PingResult> {
    const { count = 3, size, waitMs = PATIENCE_MS, args = [] } = options;
    // All at once, and an interval instead: where some answers have come, ping waits for the others only so long.
    const sized = size === undefined ? [] : ["-s", `${size}`];
    const result = await this.exec(
      "ping",
      ...["-q", "-n", "-c", `${count}`, "-l", `${count}`, "-i", `${waitMs / 1000}`, "-W", `${waitMs / 1000}`],
      ...sized,
      ...args,
      address,
    );
    const [, sent, received] = result.stdout.match(/(\d+) packets transmitted, (\d+) received/) ?? [];
    if (sent === undefined) throw new IpError(this.name, `ping ${address}`, result.stderr || result.stdout);
    return { sent: Number(sent), received: Number(received) };
  }

  /** Every SA, with its counters; never its keys. */
  async sas(): Promise<SaCounters[]> {
    return parseSaCounters(await this.read("ip", "-s", "xfrm", "state", "list", "nokeys"));
  }

  /** /proc/net/xfrm_stat. */
  xfrmStat(): Record<string, number> {
    return inNamespace(this.path, () =>
      parseXfrmStat(readFileSync("/proc/thread-self/net/xfrm_stat", "utf8")),
    );
  }

  /** Sets net/... below /proc/sys. */
  sysctl(path: string, value: number | string): void {
    inNamespace(this.path, () => writeFileSync(`/proc/sys/${path}`, `${value}`));
  }

  /** The counters of every device, by name. */
  async links(): Promise<Map<string, LinkCounters>> {
    return parseLinkCounters(await this.read("ip", "-j", "-s", "link", "show"));
  }

  /** The counters of one device. */
  async link(device: string): Promise<LinkCounters> {
    const counters = (await this.links()).get(device);
    if (!counters) throw new IpError(this.name, `link show ${device}`, "no such device");
    return counters;
  }

  /** Ends what was started inside and removes the namespace. */
  async remove(): Promise<void> {
    for (const child of this.processes) {
      const gone = once(child, "exit");
      child.kill("SIGKILL");
      await gone;
    }
    await this.batch.end();
    clearRuntimeDir(this.handle); // a killed service leaves its socket
    await command("ip", ["netns", "del", this.handle]);
  }

  private read(file: string, ...args: string[]): Promise<string> {
    return inNamespace(this.path, () => command(file, args));
  }

  private try(file: string, args: readonly string[], input?: string): Promise<CommandResult> {
    return inNamespace(this.path, () => tryCommand(file, args, input === undefined ? {} : { input }));
  }
}

// Keys and their salts are the only hex numbers of more than 8 digits in `ip xfrm`.
function withoutKeys(line: string): string {
  return line.replaceAll(/0x[0-9a-f]{9,}/gi, "0x...");
}
