/** What the number of SAs costs: the same load, of as many flows, over one connection, and spread over many. */
import { ip, ipBatch } from "../sys/ip.js";
import { inNetns } from "../sys/netns.js";
import { type Crypto, type Ends, startSteering } from "./esp-steering.js";
import { EspTopology, type Side } from "./esp-topology.js";
import { type BenchCase, summarise } from "./measure.js";
import { udpLoad } from "./udp-load.js";

const COUNTS = [1, 100, 10_000];
/** Pairs of addresses whatever the number of SAs: a load of fewer flows would be coalesced on receive. */
const FLOWS = 10_000;
/** Full packets, one behind the other of another flow: with an SA for each, the worst for the caches. */
const SIZE = 1372;
/** What the sockets' and the device's queues hold for certain. */
const WINDOW = 512;

const PREFIX: Readonly<Record<Side, string>> = { left: "10.8", right: "10.16" };

const address = (side: Side, index: number): string => `${PREFIX[side]}.${index >> 8}.${index & 255}`;

interface Sas {
  readonly count: number;
  readonly topology: EspTopology;
  readonly addresses: readonly string[];
  readonly rates: number[];
}

async function start(crypto: Crypto, count: number): Promise<Sas> {
  const topology = new EspTopology();
  try {
    topology.build();
    const own = (side: Side, index: number): string[] =>
      Array.from({ length: FLOWS / count }, (_, each) => address(side, index * (FLOWS / count) + each));
    const all = Array.from(
      { length: count },
      (_, index): Ends => ({ left: own("left", index), right: own("right", index) }),
    );
    await startSteering(topology, crypto, all);
    const { left, right } = topology.netns;
    // A whole prefix is local; each destination has a source of its own.
    ip("-n", left, "route", "add", "local", `${PREFIX.left}.0.0/16`, "dev", "lo");
    ip("-n", right, "route", "add", "local", `${PREFIX.right}.0.0/16`, "dev", "lo");
    ip("-n", right, "route", "add", `${PREFIX.left}.0.0/16`, "dev", "ipsec0");
    const flows = Array.from({ length: FLOWS }, (_, index) => index);
    const routes = flows.map((i) => `route add ${address("right", i)} dev ipsec0 src ${address("left", i)}`);
    inNetns(left, () => ipBatch(routes));
    return { count, topology, addresses: flows.map((i) => address("right", i)), rates: [] };
  } catch (error) {
    await topology.remove();
    throw error;
  }
}

export interface SasOptions {
  readonly runs: number;
  readonly seconds: number;
  readonly progress?: (what: string) => void;
}

/** @returns for each number of SAs in a direction, how many datagrams a second go through */
export async function benchSas(
  crypto: Crypto,
  { runs, seconds, progress }: SasOptions,
): Promise<BenchCase[]> {
  const all: Sas[] = [];
  try {
    for (const count of COUNTS) all.push(await start(crypto, count));
    for (let run = 0; run <= runs; run++) {
      for (const { count, topology, addresses, rates } of all) {
        progress?.(`sas ${run === 0 ? "warm-up" : `${run}/${runs}`} xfrm-steer/${crypto} with ${count}`);
        const load = { ...topology.netns, addresses, size: SIZE, rate: Number.POSITIVE_INFINITY };
        const { received, took } = await udpLoad({
          ...load,
          window: WINDOW,
          seconds: run === 0 ? 1 : seconds,
        });
        if (run > 0) rates.push(received / took);
      }
    }
    return all.map(({ count, rates }) => ({
      case: "sas",
      size: count,
      subject: `xfrm-steer/${crypto}`,
      unit: "packets/s",
      ...summarise(rates),
      extra: {},
    }));
  } finally {
    for (const { topology } of all) await topology.remove();
  }
}
