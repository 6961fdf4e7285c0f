import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { promisify } from "node:util";
import { Scope } from "../sys/scope.js";

const run = promisify(execFile);

/** As far as we read iperf3's report. */
export interface IperfReport {
  readonly error?: string;
  readonly end: {
    readonly sum_received: { readonly bits_per_second: number; readonly bytes: number };
  };
}

/** Longer than any measurement: a client whose server is gone would wait for ever. */
const CLIENT_TIMEOUT_MS = 60_000;

/** Where iperf3 runs: names of network namespaces, and the server's address. */
export interface IperfPath {
  readonly left: string;
  readonly right: string;
  readonly address: string;
}

/** Runs one measurement from left to right. @throws Error with iperf3's own words */
export async function iperf({ left, right, address }: IperfPath, ...args: string[]): Promise<IperfReport> {
  const scope = new Scope();
  const server = spawn("ip", ["netns", "exec", right, "iperf3", "-s", "-1", "--forceflush"], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  scope.own(server); // nobody may come to it
  const ended = once(server, "exit");
  try {
    const lines = createInterface(server.stdout);
    for await (const line of lines) if (line.includes("listening")) break;
    server.stdout.resume();
    const command = ["netns", "exec", left, "iperf3", "-c", address, "--json", ...args];
    const client = run("ip", command, { maxBuffer: 2 ** 26, timeout: CLIENT_TIMEOUT_MS });
    scope.own(client.child);
    const { stdout } = await client.catch((error) => {
      if (typeof error.stdout === "string" && error.stdout !== "") return { stdout: error.stdout as string };
      throw error;
    });
    const report = JSON.parse(stdout) as IperfReport;
    if (report.error) throw new Error(`iperf3 to ${address}: ${report.error}`);
    await ended;
    return report;
  } finally {
    scope.close();
  }
}
