/** Many subnets are found by a hash or in blocks: here by the BPF program, and by reading the tables as it does. */
import { loadClassifier } from "../../src/backends/classifier.js";
import { benchPolicy } from "../../src/bench/cases.js";
import { compile } from "../../src/compiler/compile.js";
import { NO_FLOWS } from "../../src/config/flows.js";
import type { Family, FlowSubnets } from "../../src/config/policy.js";
import { bpfObjectPath } from "../../src/sys/paths.js";
import { decided, ETHERNET, runPacket } from "../support/bpf-decide.js";
import { Random } from "../support/random.js";
import { rootTest } from "../support/root-test.js";
import { ownerOf } from "../support/walk.js";

const SEED = Number(process.env.XFRM_STEER_FUZZ_SEED ?? Date.now() % 2 ** 32);
const SUBNETS = 40_000;
const PACKETS = 2000;

interface Prefix {
  readonly words: readonly number[];
  readonly length: number;
}

const masked = (words: readonly number[], length: number) =>
  words.map((word, w) => {
    const kept = Math.min(32, Math.max(0, length - 32 * w));
    return kept === 0 ? 0 : (word & (-1 << (32 - kept))) >>> 0;
  });
const nameOf = (words: readonly number[], length: number) => `${masked(words, length)}/${length}`;

/** Prefixes by name, of all lengths that `lengths` has, many of them inside others; those of IPv6 in one /32 where they are `near`. */
function randomPrefixes(
  random: Random,
  { family, lengths, near: isNear = false }: Subnets,
): Map<string, Prefix> {
  const size = family === 4 ? 1 : 4;
  const all = new Map<string, Prefix>();
  const made: (readonly number[])[] = [];
  while (all.size < SUBNETS) {
    const near = made.length > 0 && random.chance(4) ? random.pick(made) : null;
    const words =
      near ?? Array.from({ length: size }, (_, w) => (isNear && w === 0 ? NEAR : random.below(2 ** 32)));
    const length = random.pick(lengths);
    all.set(nameOf(words, length), { words: masked(words, length), length });
    made.push(words);
  }
  return all;
}

function columns(prefixes: readonly Prefix[], connections: number): FlowSubnets {
  const count = prefixes.length;
  return {
    words: Uint32Array.from(prefixes.flatMap(({ words }) => words)),
    length: Uint8Array.from(prefixes, ({ length }) => length),
    connection: Uint32Array.from({ length: count }, (_, i) => i % connections),
    file: new Uint8Array(count),
    line: new Uint32Array(count),
  };
}

function packetTo(family: Family, destination: readonly number[]): Uint8Array {
  const header = family === 4 ? 20 : 40;
  const packet = new Uint8Array(header);
  const view = new DataView(packet.buffer);
  view.setUint8(0, family === 4 ? 0x45 : 0x60);
  destination.forEach((word, w) => {
    view.setUint32(header - 4 * destination.length + 4 * w, word);
  });
  return packet;
}

interface Subnets {
  readonly family: Family;
  readonly lengths: readonly number[];
  readonly near?: boolean;
  /** How those of the usual length are found. */
  readonly by: "hash" | "blocks";
}

const NEAR = 0xfd001234;

const CASES: Readonly<Record<string, Subnets>> = {
  "IPv4 hosts and a few networks": { family: 4, lengths: [32, 32, 32, 32, 31, 24, 8], by: "hash" },
  "IPv6 networks of a site or less": { family: 6, lengths: [48, 52, 56, 60, 64], by: "hash" },
  "IPv6 networks and a few hosts and larger networks": {
    family: 6,
    lengths: [16, 32, 48, 56, 56, 60, 64, 64, 96, 128],
    by: "hash",
  },
  "IPv4 networks of one size": { family: 4, lengths: [20], by: "blocks" },
  "IPv4 networks of one size, and larger ones and hosts": {
    family: 4,
    lengths: [20, 20, 20, 20, 20, 20, 12, 8, 28, 32],
    by: "blocks",
  },
  "IPv6 networks in one, and a few smaller ones": {
    family: 6,
    lengths: [52, 52, 52, 52, 40, 64, 96],
    near: true,
    by: "blocks",
  },
};

for (const [what, subnets] of Object.entries(CASES))
  rootTest(`many subnets, ${what}: the longest that holds the address owns it`, (t) => {
    t.log(`seed ${SEED}`);
    const { family, lengths, by } = subnets;
    const random = new Random(SEED);
    const prefixes = randomPrefixes(random, subnets);
    const list = [...prefixes.values()];
    const base = benchPolicy("prefix6", 1, 1);
    const policy = {
      ...base,
      flows: { ...NO_FLOWS, [`subnets${family}`]: columns(list, base.connections.length) },
    };
    const index = new Map([...prefixes.keys()].map((name, i) => [name, i]));
    const generation = compile(policy, { ifindexOf: () => 0, ifindexesOfGroup: () => [] });
    const trie = generation[`subnets${family}`];
    t.true((by === "hash" ? trie.slots : trie.spread) > 0, `they are found by ${by}`);
    const object = loadClassifier(bpfObjectPath("steer_test"), generation, { l3Offset: ETHERNET });
    t.teardown(() => object.close());
    for (let i = 0; i < PACKETS; i++) {
      const { words } = random.pick(list);
      const flips = random.below(3);
      const address = words.map((word, w) =>
        w >= words.length - flips ? (word ^ random.below(2 ** random.pick([4, 16, 32]))) >>> 0 : word,
      );
      const longest = [...new Set(lengths)]
        .sort((a, b) => b - a)
        .find((length) => index.has(nameOf(address, length)));
      const owner =
        longest === undefined
          ? null
          : (index.get(nameOf(address, longest)) as number) % base.connections.length;
      const key = { family, words: Uint32Array.from(address) };
      t.is(ownerOf(generation, `trie${family}`, trie, key, 0), owner, `${address} of seed ${SEED}`);
      runPacket(object, "run_decide", packetTo(family, address), { mark: 0, ifindex: 0 });
      t.is(decided(object).ifId, owner === null ? 0 : owner + 1, `${address} of seed ${SEED}`);
    }
  });
