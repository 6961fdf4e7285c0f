import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { promisify } from "node:util";
import type { EspSubject } from "./esp-subjects.js";

const run = promisify(execFile);

export const ESP_CASES = ["tcp1", "tcp8", "udp64", "udp1400", "rtt"] as const;
export type EspCaseName = (typeof ESP_CASES)[number];

export interface Sample {
  readonly value: number;
  readonly extra: Readonly<Record<string, number>>;
}

export interface EspCase {
  readonly unit: string;
  /** Bytes of payload, or flows: what the case's size is. */
  readonly size: number;
  measure(subject: EspSubject, seconds: number): Promise<Sample>;
}

/** As far as we read iperf3's report. */
interface IperfReport {
  readonly error?: string;
  readonly end: {
    readonly sum_received: { readonly bits_per_second: number };
    readonly sum?: {
      readonly packets: number;
      readonly lost_packets: number;
      readonly seconds: number;
    };
  };
}

/** Longer than any measurement: a client whose server is gone would wait for ever. */
const CLIENT_TIMEOUT_MS = 60_000;

async function iperf({ left, right, address }: EspSubject, ...args: string[]): Promise<IperfReport> {
  const server = spawn("ip", ["netns", "exec", right, "iperf3", "-s", "-1", "--forceflush"], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const ended = once(server, "exit");
  try {
    const lines = createInterface(server.stdout);
    for await (const line of lines) if (line.includes("listening")) break;
    server.stdout.resume();
    const client = ["netns", "exec", left, "iperf3", "-c", address, "--json", ...args];
    const { stdout } = await run("ip", client, { maxBuffer: 2 ** 26, timeout: CLIENT_TIMEOUT_MS }).catch(
      (error) => {
        if (typeof error.stdout === "string" && error.stdout !== "")
          return { stdout: error.stdout as string };
        throw error;
      },
    );
    const report = JSON.parse(stdout) as IperfReport;
    if (report.error) throw new Error(`iperf3 to ${address}: ${report.error}`);
    return report;
  } finally {
    if (server.exitCode === null) server.kill();
    await ended;
  }
}

/** TCP goodput as the receiver has it. */
const tcp = (flows: number): EspCase => ({
  unit: "Gbit/s",
  size: flows,
  async measure(subject, seconds) {
    const { end } = await iperf(subject, "-t", String(seconds), "-O", "0.3", "-P", String(flows));
    return { value: end.sum_received.bits_per_second / 1e9, extra: {} };
  },
});

/** What counts as free of loss, and where the search begins. */
const LOSS_FREE = 0.001;
const FIRST_RATE = 10_000;
const LAST_RATE = 640_000;
const BISECTIONS = 2;

/** The highest rate that arrives whole, of datagrams sent one by one: doubled until some are lost, then bisected. */
const udp = (size: number): EspCase => ({
  unit: "packets/s",
  size,
  async measure(subject, seconds) {
    let best = 0;
    const arrives = async (rate: number): Promise<boolean> => {
      const bits = String(Math.round(rate * size * 8));
      const { end } = await iperf(subject, "-u", "-l", String(size), "-b", bits, "-t", String(seconds));
      const { packets = 0, lost_packets: lost = 0, seconds: took = seconds } = end.sum ?? {};
      const whole = packets > 0 && lost <= packets * LOSS_FREE;
      const sent = packets / took;
      if (whole) best = Math.max(best, sent);
      // A sender that cannot go as fast as it should is the limit itself.
      return whole && sent > 0.9 * rate;
    };
    let rate = FIRST_RATE;
    while (rate <= LAST_RATE && (await arrives(rate))) rate *= 2;
    let [low, high] = [rate / 2, rate];
    for (let i = 0; i < BISECTIONS; i++) {
      const middle = (low + high) / 2;
      if (await arrives(middle)) low = middle;
      else high = middle;
    }
    return { value: best, extra: {} };
  },
});

const PINGS = 400;

/** Round trips of single packets: the median, and the 99th percentile beside it. */
const rtt: EspCase = {
  unit: "us",
  size: 56,
  async measure({ left, address }) {
    const ping = ["netns", "exec", left, "ping", "-c", String(PINGS), "-i", "0.002", address];
    const { stdout } = await run("ip", ping);
    const times = [...stdout.matchAll(/time=([\d.]+) ms/g)]
      .map(([, time]) => Number(time) * 1000)
      .sort((a, b) => a - b);
    if (times.length < PINGS / 2) throw new Error(`ping ${address}: ${times.length} of ${PINGS} answers`);
    const at = (share: number): number => times[Math.floor(times.length * share)] ?? 0;
    return { value: at(0.5), extra: { p99: at(0.99) } };
  },
};

export const CASES: Readonly<Record<EspCaseName, EspCase>> = {
  tcp1: tcp(1),
  tcp8: tcp(8),
  udp64: udp(64),
  udp1400: udp(1400),
  rtt,
};
