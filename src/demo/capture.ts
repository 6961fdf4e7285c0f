import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { createInterface } from "node:readline";
import type { Scope } from "../sys/scope.js";
import { DemoError } from "./error.js";
import type { Topology } from "./topology.js";

/** Longer than any demo: a capture whose demo was killed ends by itself. */
const MAX_SECONDS = 300;

/** Packets on both of the hub's wires, written to a file by Wireshark's dumpcap. */
export class Capture {
  readonly file: string;
  readonly #child: ChildProcess;
  readonly #said: string[] = [];

  private constructor(file: string, child: ChildProcess) {
    this.file = file;
    this.#child = child;
  }

  /** @param filter in the language of pcap-filter(7) */
  static async start(
    { netns, folder }: Topology,
    name: string,
    filter: string,
    scope: Scope,
  ): Promise<Capture> {
    const file = join(folder, `${name}.pcapng`);
    // Options before the first -i hold for both interfaces.
    const options = ["-q", "-f", filter, "-B", "16", "-a", `duration:${MAX_SECONDS}`, "-w", file];
    const child = spawn(
      "ip",
      ["netns", "exec", netns.hub, "dumpcap", ...options, "-i", "wan-a", "-i", "wan-b"],
      {
        stdio: ["ignore", "ignore", "pipe"],
      },
    );
    scope.own(child);
    const capture = new Capture(file, child);
    const lines = createInterface({ input: child.stderr as NonNullable<typeof child.stderr> });
    lines.on("line", (line) => capture.#said.push(line));
    // "File:" comes once the sockets are open.
    await new Promise<void>((resolve, reject) => {
      lines.on("line", (line) => line.startsWith("File: ") && resolve());
      child.on("error", reject);
      child.on("exit", () => reject(new DemoError(`dumpcap ended at once: ${capture.#said.join("; ")}`)));
    });
    return capture;
  }

  /** Ends the capture and returns how many packets it missed. */
  async stop(): Promise<number> {
    const ended = this.#child.exitCode === null ? once(this.#child, "close") : Promise.resolve();
    this.#child.kill("SIGINT");
    await ended;
    const lost = this.#said.flatMap(
      (line) => /received\/dropped on interface .*: \d+\/(\d+)/.exec(line)?.[1] ?? [],
    );
    if (lost.length === 0)
      throw new DemoError(`dumpcap gave no count of what it missed: ${this.#said.join("; ")}`);
    return lost.reduce((sum, count) => sum + Number(count), 0);
  }
}
