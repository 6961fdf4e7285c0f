/** Subnets that several connections share: on receive each of them may use such a source, and no other connection. */
import test from "ava";
import { loadClassifier } from "../../src/backends/classifier.js";
import { Owner } from "../../src/bpf/tables.bpf.js";
import { compile } from "../../src/compiler/compile.js";
import { CompileError } from "../../src/compiler/error.js";
import { SharedLists, STARTS_MAX } from "../../src/compiler/shared-lists.js";
import { Table } from "../../src/compiler/table.js";
import { VERDICT } from "../../src/compiler/targets.js";
import { type Policy, parsePolicy } from "../../src/config/index.js";
import { bpfObjectPath } from "../../src/sys/paths.js";
import { ETHERNET, runPacket } from "../support/bpf-decide.js";
import { Random } from "../support/random.js";
import { rootTest } from "../support/root-test.js";

const SEED = Number(process.env.XFRM_STEER_FUZZ_SEED ?? Date.now() % 2 ** 32);
const DEVICES = { ifindexOf: () => 1, ifindexesOfGroup: () => [] };
/** More than a scan could have: the verifier follows at most 8,192 branches that are open. */
const CONNECTIONS = 10_000;
const MEMBERS = [2, 3, 4, 5, 7, 8, 9, 16, 17, 100];

/** All share 10.0.0.0/8, and of its /16s number i belongs to connections members[i], in this order. */
function sharingPolicy(members: readonly (readonly number[])[]): Policy {
  const { policy } = parsePolicy(
    "version: 1\nconnections: {a: {if_id: 1, subnets: [10.0.0.0/8]}}\n",
    "a.yaml",
  );
  const [connection] = policy?.connections ?? [];
  if (!policy || !connection) throw new Error("the policy is refused");
  const rows = members.flatMap((list, i) => list.map((index) => ({ index, word: (10 << 24) | (i << 16) })));
  const subnets4 = {
    words: Uint32Array.from(rows, ({ word }) => word),
    length: new Uint8Array(rows.length).fill(16),
    connection: Uint32Array.from(rows, ({ index }) => index),
    file: new Uint8Array(rows.length),
    line: new Uint32Array(rows.length),
  };
  return {
    ...policy,
    connections: Array.from({ length: CONNECTIONS }, (_, i) => ({
      ...connection,
      name: `c${i}`,
      ifId: i + 1,
    })),
    flows: { ...policy.flows, subnets4 },
  };
}

function packetFrom(net: number): Uint8Array {
  const packet = new Uint8Array(20);
  packet.set([0x45]);
  packet.set([10, net, 0, 1], 12);
  return packet;
}

rootTest(
  "of ten thousand connections, those that share a subnet are admitted from it, others are not",
  (t) => {
    const random = new Random(SEED);
    t.log(`seed ${SEED}`);
    const lists = MEMBERS.map((count) => {
      const list = new Set<number>();
      while (list.size < count) list.add(random.below(CONNECTIONS));
      return [...list];
    });
    const generation = compile(sharingPolicy(lists), DEVICES);
    const object = loadClassifier(bpfObjectPath("steer_test"), generation, { l3Offset: ETHERNET });
    t.teardown(() => object.close());
    const ends = [0, 1, CONNECTIONS / 2, CONNECTIONS - 2, CONNECTIONS - 1];
    const all = Array.from({ length: CONNECTIONS }, (_, index) => index);
    for (const [net, list] of [...lists, all].entries()) {
      const members = new Set(list);
      const packet = packetFrom(net);
      for (const index of new Set([...list.slice(0, 100).flatMap((i) => [i - 1, i, i + 1]), ...ends])) {
        if (index < 0 || index >= CONNECTIONS) continue;
        const { verdict } = runPacket(object, "run_admit", packet, { mark: 0, ifindex: 0, ifId: index + 1 });
        const wanted = members.has(index) ? VERDICT.pass : VERDICT.drop;
        t.is(verdict, wanted, `seed ${SEED}, connection ${index}, net ${net}`);
      }
    }
  },
);

const listOf = (...connections: number[]) => Uint32Array.from(connections);

test("equal lists of connections are one, others are not", (t) => {
  const table = new Table("shared");
  const lists = new SharedLists(table, []);
  const first = lists.add(listOf(1, 2));
  const others = [listOf(1, 3), listOf(1, 2, 3), listOf(2, 3)].map((list) => lists.add(list));
  t.is(lists.add(listOf(1, 2)), first);
  t.is(new Set([first, ...others]).size, 4);
  t.deepEqual([...table.words.subarray(0, table.length)], [2, 1, 2, 2, 1, 3, 3, 1, 2, 3, 2, 2, 3]);
});

test("lists that have no place are refused by the connections' names", (t) => {
  const lists = new SharedLists(new Table("shared"), ["a", "b", "c", "d", "e"], 6);
  const known = [lists.add(listOf(0, 1)), lists.add(listOf(0, 2))];
  const error = t.throws(() => lists.add(listOf(0, 1, 2, 4)), { instanceOf: CompileError });
  t.regex(error?.message ?? "", /^connections a, b, c and 1 more share a subnet, and there is no place/);
  t.throws(() => lists.add(listOf(1, 3)), { instanceOf: CompileError, message: /^connections b, d share/ });
  t.deepEqual([lists.add(listOf(0, 1)), lists.add(listOf(0, 2))], known);
});

test("the last list that has a place is no owner of another meaning", (t) => {
  const table = new Table("shared");
  table.reserve(STARTS_MAX - 1);
  const lists = new SharedLists(table, ["a", "b", "c"]);
  t.is(lists.add(listOf(0, 1)), Owner.OWNER_MALFORMED - 1);
  t.throws(() => lists.add(listOf(0, 2)), { instanceOf: CompileError });
});
