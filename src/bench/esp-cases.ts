import { execFile } from "node:child_process";
import { readFileSync } from "node:fs";
import { promisify } from "node:util";
import type { EspSubject } from "./esp-subjects.js";
import { iperf } from "./iperf.js";
import { udpLoad } from "./udp-load.js";

const run = promisify(execFile);

/** Those that take any subject. */
const PATH_CASES = ["tcp1", "tcp8", "udp64", "udp512", "udp1400", "rtt", "cpu"] as const;
export const ESP_CASES = [...PATH_CASES, "sas"] as const;
export type EspCaseName = (typeof ESP_CASES)[number];
export type PathCaseName = (typeof PATH_CASES)[number];

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

/** TCP goodput as the receiver has it. */
const tcp = (flows: number): EspCase => ({
  unit: "Gbit/s",
  size: flows,
  async measure(subject, seconds) {
    const { end } = await iperf(subject, "-t", String(seconds), "-O", "0.3", "-P", String(flows));
    return { value: end.sum_received.bits_per_second / 1e9, extra: {} };
  },
});

/** What counts as free of loss, and where the search begins and ends, in datagrams a second. */
const LOSS_FREE = 0.001;
const FIRST_RATE = 10_000;
const LAST_RATE = 1_280_000;
const BISECTIONS = 4;
/** How long each rate is tried; queues may hide a small loss for as long, which the measurement itself finds. */
const TRY_SECONDS = 0.4;
/** By how much less is tried where the measurement was not free of loss. */
const STEP_BACK = 0.93;
/** A sender that cannot go as fast as it should is the limit itself. */
const KEEPS_UP = 0.95;

/**
 * The highest rate that arrives whole, of datagrams sent one by one: doubled until some are lost, then bisected, then
 * lowered until it arrives whole for all of the time.
 */
const udp = (size: number): EspCase => ({
  unit: "packets/s",
  size,
  async measure({ left, right, address }, seconds) {
    const send = async (rate: number, seconds: number) => {
      const load = { left, right, addresses: [address], size, rate, window: Number.POSITIVE_INFINITY };
      const { sent, received, took } = await udpLoad({ ...load, seconds });
      const whole = sent > 0 && sent - received <= sent * LOSS_FREE;
      return { whole, arrived: received / took, keptUp: sent > KEEPS_UP * rate * took };
    };
    let best = 0;
    const arrives = async (rate: number): Promise<boolean> => {
      const { whole, arrived, keptUp } = await send(rate, TRY_SECONDS);
      if (whole) best = Math.max(best, arrived);
      return whole && keptUp;
    };
    let rate = FIRST_RATE;
    while (rate <= LAST_RATE && (await arrives(rate))) rate *= 2;
    let [low, high] = [rate / 2, rate];
    for (let i = 0; i < BISECTIONS; i++) {
      const middle = (low + high) / 2;
      if (await arrives(middle)) low = middle;
      else high = middle;
    }
    for (let rate = best; rate > FIRST_RATE / 2; rate *= STEP_BACK) {
      const { whole, arrived } = await send(rate, seconds);
      if (whole) return { value: arrived, extra: {} };
    }
    return { value: 0, extra: {} };
  },
});

const PINGS = 1000;

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

/** Slow enough for every subject. */
const CPU_RATE = 300e6;
/** USER_HZ of every architecture that Node 20 supports. */
const TICKS_PER_SECOND = 100;

/** Ticks that all CPUs together have worked: all but idle, iowait and steal (proc(5), /proc/stat). */
function busyTicks(): number {
  const [line = ""] = readFileSync("/proc/stat", "utf8").split("\n");
  const [user = 0, nice = 0, system = 0, , , irq = 0, softirq = 0] = line.split(/\s+/).slice(1).map(Number);
  return user + nice + system + irq + softirq;
}

/**
 * CPU time of the whole machine for each gigabit of one TCP flow at a rate that every subject reaches: a data path works
 * in its own process, in the kernel for it and in interrupts. The bare link shows what of it is the benchmark's own.
 */
const cpu: EspCase = {
  unit: "s/Gbit",
  size: CPU_RATE,
  async measure(subject, seconds) {
    const before = busyTicks();
    const { end } = await iperf(subject, "-t", String(seconds), "-b", String(CPU_RATE));
    const busy = (busyTicks() - before) / TICKS_PER_SECOND;
    const { bits_per_second: rate, bytes } = end.sum_received;
    return { value: busy / ((bytes * 8) / 1e9), extra: { gbit_per_second: rate / 1e9 } };
  },
};

export const CASES: Readonly<Record<PathCaseName, EspCase>> = {
  tcp1: tcp(1),
  tcp8: tcp(8),
  udp64: udp(64),
  udp512: udp(512),
  udp1400: udp(1400),
  rtt,
  cpu,
};
