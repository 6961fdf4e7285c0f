/** Many long subnets are found by a hash: here by the BPF program, and by reading the tables as it does. */
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

/** Prefixes by name, of all lengths that `lengths` has, many of them inside others. */
function randomPrefixes(random: Random, family: Family, lengths: readonly number[]): Map<string, Prefix> {
  const size = family === 4 ? 1 : 4;
  const all = new Map<string, Prefix>();
  const made: (readonly number[])[] = [];
  while (all.size < SUBNETS) {
    const near = made.length > 0 && random.chance(4) ? random.pick(made) : null;
    const words = near ?? Array.from({ length: size }, () => random.below(2 ** 32));
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

for (const [what, family, lengths] of [
  ["IPv4 hosts and a few networks", 4, [32, 32, 32, 32, 31, 24, 8]],
  ["IPv6 networks of a site or less", 6, [48, 52, 56, 60, 64]],
  ["IPv6 networks and a few hosts and larger networks", 6, [16, 32, 48, 56, 56, 60, 64, 64, 96, 128]],
] as const)
  rootTest(`many subnets, ${what}: the longest that holds the address owns it`, (t) => {
    t.log(`seed ${SEED}`);
    const random = new Random(SEED);
    const prefixes = randomPrefixes(random, family, lengths);
    const list = [...prefixes.values()];
    const base = benchPolicy("prefix6", 1, 1);
    const policy = {
      ...base,
      flows: { ...NO_FLOWS, [`subnets${family}`]: columns(list, base.connections.length) },
    };
    const index = new Map([...prefixes.keys()].map((name, i) => [name, i]));
    const generation = compile(policy, { ifindexOf: () => 0, ifindexesOfGroup: () => [] });
    const trie = generation[`subnets${family}`];
    t.true(trie.slots > 0, "they are hashed");
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
