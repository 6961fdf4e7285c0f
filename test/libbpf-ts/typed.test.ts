import { readFileSync } from "node:fs";
import test from "ava";
import {
  ArgumentError,
  BpfMap,
  type BpfObject,
  Btf,
  type Codec,
  codec,
  defineObject,
  generateModule,
  InvalidObjectError,
  MapType,
  modelOf,
  objectModel,
  possibleCpus,
  type TypedMap,
  type TypedMapOfMaps,
  type TypedObject,
  type TypedPerCpuMap,
  UnknownNameError,
} from "libbpf-ts";
import { FRAME, fixtureFolder, kernelTest } from "./support/bpf-test.js";

const fixtures = fixtureFolder(test);

type Maps = {
  flows: TypedMap<unknown, Record<string, unknown>>;
  routes: TypedMap<{ prefixlen: number; address: number }, number>;
  by_color: TypedPerCpuMap<number, { number: number; color: number; time: bigint }>;
  tables: TypedMapOfMaps<number, TypedMap<number, { number: number; color: number; time: bigint }>>;
  mapped: TypedMap<number, bigint>;
  events: BpfMap;
};
type Types = {
  maps: Maps;
  programs: "compare" | "bump" | "emit";
  rodata: { expected: Record<string, unknown>; limit: number };
  data: object;
  bss: { seen: Record<string, unknown> };
};

/** The fixture as a generated module would open it. */
async function typed(): Promise<TypedObject<Types>> {
  const path = await fixtures.object("typed");
  const model = objectModel(Btf.parse(readFileSync(path)));
  return defineObject<Types>({ name: "typed", model, programs: ["compare"] }).open(path);
}

async function codecOf<T = Record<string, unknown>>(name: string): Promise<Codec<T>> {
  const btf = Btf.parse(readFileSync(await fixtures.object("typed")));
  return codec<T>(
    modelOf(
      btf,
      btf.types.findIndex((type) => type.name === name),
    ),
  );
}

const peer = (address: object, family: number) => ({ ...address, family });
const EVERYTHING = {
  byte: 200,
  negative: -3,
  port: 4500,
  tagged: 0x1122334455667788n,
  low: 5,
  middle: 0x2abcd,
  signed_bits: -7,
  wide_bits: 0xabcdef0123n,
  yes: true,
  color: 7,
  temperature: 40,
  name: "eth",
  words: Uint32Array.of(10, 20, 30),
  nets: Uint32Array.of(0x0a000001, 0x0a000002),
  peers: [
    peer({ v4: 0xc0a80001 }, 2),
    peer({ v6: Uint8Array.of(0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9) }, 10),
  ],
  untagged: { first: -1, second: -5_000_000_000n },
  left: 1,
  right: 2,
  choice: { number: 77 },
  pointer: 0n,
};
const KEY = { source: 0x0a000001, destination: 0x0a000002, port: 4500, pad: 0 };

kernelTest("what is written in TypeScript is what C reads, in a constant and in a map's value", async (t) => {
  using object = await typed();
  object.rodata.expected = EVERYTHING;
  object.load();
  object.maps.flows.update(KEY, EVERYTHING);
  t.is(object.programs.compare.testRun({ data: FRAME }).retval, 0);
});

kernelTest("what C writes is read back, a union as all its members", async (t) => {
  using object = await typed();
  object.rodata.expected = EVERYTHING;
  object.load();
  object.maps.flows.update(KEY, EVERYTHING);
  object.programs.compare.testRun({ data: FRAME });
  const { peers, whole, left, right, choice, ...rest } = object.bss.seen as typeof EVERYTHING & {
    whole: bigint;
  };
  const { peers: _peers, left: _left, right: _right, choice: _choice, ...expected } = EVERYTHING;
  t.deepEqual(rest, { ...expected, negative: -4 });
  t.is(whole, (2n << 32n) | 1n);
  t.deepEqual([left, right], [1, 2]);
  t.deepEqual(choice, { number: 77, raw: Uint8Array.of(77, 0, 0, 0) } as object as typeof choice);
  t.deepEqual(peers[0], {
    v4: 0xc0a80001,
    v6: Uint8Array.of(192, 168, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0),
    family: 2,
  });
  t.deepEqual(object.maps.flows.lookup(KEY), object.bss.seen);
});

const misfits: [what: string, change: object, message: RegExp][] = [
  ["a number that is too large", { byte: 256 }, /value\.byte: 256; give a whole number that fits u8/],
  ["a fraction", { negative: 0.5 }, /value\.negative/],
  ["a number for a 64-bit integer", { tagged: 1 }, /value\.tagged: 1; give a bigint that fits u64/],
  ["more bits than a bit field has", { low: 8 }, /value\.low: 8; give a whole number of 3 bits/],
  ["a bit field below its range", { signed_bits: -17 }, /value\.signed_bits/],
  ["a number for a bool", { yes: 1 }, /value\.yes/],
  ["text that is too long", { name: "much too long" }, /value\.name.*at most 8 bytes/],
  ["an array that is too short", { words: Uint32Array.of(1) }, /value\.words: 1 elements; its array has 3/],
  [
    "a wrong element",
    {
      peers: [
        { v4: 1, family: 70_000 },
        { v4: 1, family: 2 },
      ],
    },
    /value\.peers\[0\]\.family/,
  ],
  ["a field that the struct has not", { extra: 1 }, /struct everything has no field "extra"; it has byte,/],
  ["a field left out", { port: undefined }, /no field "port"; give every field/],
  [
    "two members of a union",
    { whole: 1n },
    /2 members of the union \{whole, left, right\}; give exactly one/,
  ],
  ["no member of a union", { choice: {} }, /0 members of the union/],
  ["no struct where one is due", { untagged: 5 }, /value\.untagged: 5; give the fields of struct untagged_t/],
];
for (const [what, change, message] of misfits) {
  test(`${what} is refused with the field's name`, async (t) => {
    const everything = await codecOf("everything");
    t.throws(() => everything.encode({ ...EVERYTHING, ...change }), { instanceOf: ArgumentError, message });
  });
}

test("a codec knows its size and its fields' offsets, those of anonymous members among them", async (t) => {
  const everything = await codecOf<Record<string, unknown>>("everything");
  t.is(everything.size, 152);
  t.like(everything.offsets, { byte: 0, negative: 2, port: 4, tagged: 8, name: 40 });
  t.is(everything.offsets.whole, everything.offsets.left);
  t.is(everything.offsets.right, (everything.offsets.left ?? 0) + 4);
  t.throws(() => everything.decode(new Uint8Array(151)), { instanceOf: ArgumentError });
});

kernelTest("the longest prefix of an LPM trie answers", async (t) => {
  using object = await typed();
  const { routes } = object.load().maps;
  routes.update({ prefixlen: 8, address: 0x0a000000 }, 1);
  routes.update({ prefixlen: 16, address: 0x0a010000 }, 2);
  t.is(routes.lookup({ prefixlen: 32, address: 0x0a010203 }), 2);
  t.is(routes.lookup({ prefixlen: 32, address: 0x0a020203 }), 1);
  t.is(routes.lookup({ prefixlen: 32, address: 0x0b000000 }), undefined);
  t.deepEqual(
    [...routes].sort((a, b) => a[1] - b[1]),
    [
      [{ prefixlen: 8, address: 0x0a000000 }, 1],
      [{ prefixlen: 16, address: 0x0a010000 }, 2],
    ],
  );
});

kernelTest("a per-CPU map has one value a possible CPU", async (t) => {
  using object = await typed();
  const { by_color } = object.load().maps;
  const values = Array.from({ length: possibleCpus() }, (_, cpu) => ({
    number: cpu,
    color: 7,
    time: BigInt(cpu),
  }));
  by_color.update(300, values);
  t.deepEqual(by_color.lookup(300), values);
  t.deepEqual([...by_color], [[300, values]]);
  t.throws(() => by_color.update(300, values.slice(1)), {
    instanceOf: ArgumentError,
    message: /possible CPUs/,
  });
});

kernelTest("the inner maps of a map-in-map are typed too", async (t) => {
  using object = await typed();
  const { tables } = object.load().maps;
  const shape = { name: "inner", type: MapType.hash, keySize: 2, valueSize: 16, maxEntries: 8, flags: 0 };
  const event = { number: 9, color: 300, time: 5n };
  {
    using raw = BpfMap.create(shape);
    const inner = tables.wrap(raw);
    inner.update(443, event);
    tables.update(1, inner);
  }
  t.is(tables.lookup(0), undefined);
  const found = tables.lookup(1);
  t.deepEqual(found?.lookup(443), event);
  found?.raw.close();
});

kernelTest("batches of typed entries, while the map changes during the walk", async (t) => {
  using object = await typed();
  const { flows } = object.load().maps;
  const key = (port: number) => ({ ...KEY, port });
  t.is(flows.updateBatch(Array.from({ length: 1000 }, (_, port) => [key(port), EVERYTHING] as const)), 1000);
  const ports = new Map<number, number>();
  for (const [{ port }] of flows as Iterable<[typeof KEY, unknown]>) {
    ports.set(port, (ports.get(port) ?? 0) + 1);
    flows.delete(key(port)); // key by key this would start the walk again
  }
  t.is(ports.size, 1000);
  t.true([...ports.values()].every((times) => times === 1));
  t.is([...flows].length, 0);
  flows.updateBatch([[key(1), EVERYTHING]]);
  t.is(flows.deleteBatch([key(1)]), 1);
});

kernelTest("a module that does not fit the object is refused with what differs", async (t) => {
  const path = await fixtures.object("typed");
  const model = objectModel(Btf.parse(readFileSync(path)));
  const other = { ...model, bss: { ...model.bss, seen: { kind: "bool", size: 1 } } } as typeof model;
  t.throws(() => defineObject({ name: "x", model: other, programs: [] }).open(path), {
    instanceOf: InvalidObjectError,
    message: /its variable seen is not the one.*run libbpf-ts gen again/,
  });
  t.throws(() => defineObject({ name: "x", model, programs: ["gone" as never] }).open(path), {
    message: /program gone/,
  });
  const untyped: BpfObject = (await typed()).object;
  t.true(untyped.map("flows") instanceof BpfMap);
  untyped.close();
  t.throws(() => untyped.map("flows").lookup(1), { message: /closed/ });
});

test("a type that nothing leads to is generated when asked for, and an unknown one refused", async (t) => {
  const path = await fixtures.object("basics");
  t.notRegex(generateModule(path), /interface Sk/);
  t.regex(generateModule(path, { types: ["__sk_buff"] }), /export interface SkBuff \{/);
  t.throws(() => generateModule(path, { types: ["nope"] }), { instanceOf: UnknownNameError });
});
