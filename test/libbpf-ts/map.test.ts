import test from "ava";
import { ArgumentError, BpfError, BpfMap, ClosedError, MapType, possibleCpus, UpdateFlag } from "libbpf-ts";
import { FRAME, fixtureFolder, kernelTest, opened } from "./support/bpf-test.js";
import { ownBpffs } from "./support/bpffs.js";

const fixtures = fixtureFolder(test);
const key = (value: number) => new BigUint64Array([BigInt(value)]);
const u32 = (value: number) => new Uint32Array([value]);
/** Of linux/bpf.h. */
const BPF_F_MMAPABLE = 1 << 10;

kernelTest("update, lookup and delete of a hash map", async (t) => {
  const map = opened(t, await fixtures.object("basics"))
    .load()
    .map("flows_with_a_long_name");
  t.is(map.lookup(key(1)), undefined);
  map.update(key(1), u32(11));
  t.is(map.lookup(key(1))?.readUInt32LE(), 11);
  const into = new Uint32Array(1);
  t.is(map.lookup(key(1), into), into);
  t.is(into[0], 11);
  t.true(map.delete(key(1)));
  t.false(map.delete(key(1)));
});

kernelTest("noExist and exist are kept", async (t) => {
  const map = opened(t, await fixtures.object("basics"))
    .load()
    .map("flows_with_a_long_name");
  t.throws(() => map.update(key(1), u32(1), UpdateFlag.exist), { instanceOf: BpfError, message: /ENOENT/ });
  map.update(key(1), u32(1), UpdateFlag.noExist);
  const error = t.throws(() => map.update(key(1), u32(2), UpdateFlag.noExist), { instanceOf: BpfError });
  t.is(error.code, "EEXIST");
});

kernelTest("keys and values of the wrong size never reach the kernel", async (t) => {
  const object = opened(t, await fixtures.object("basics")).load();
  const map = object.map("flows_with_a_long_name");
  for (const misuse of [
    () => map.lookup(u32(1)),
    () => map.lookup(1),
    () => map.lookup(key(1), new Uint8Array(3)),
    () => map.update(key(1), key(1)),
    () => map.updateBatch(new BigUint64Array(2), new Uint32Array(3)),
    () => map.updateBatch(new Uint32Array(3), new Uint32Array(3)),
    () => map.lookupPerCpu(key(1)),
    () => object.map("per_cpu").updatePerCpu(0, [u32(1)].slice(possibleCpus())),
  ]) {
    t.throws(misuse, { instanceOf: ArgumentError });
  }
});

kernelTest("keys and entries give every entry", async (t) => {
  const map = opened(t, await fixtures.object("basics"))
    .load()
    .map("flows_with_a_long_name");
  for (let i = 0; i < 100; i++) map.update(key(i), u32(i * 2));
  t.is(new Set([...map.keys()].map((k) => k.readBigUInt64LE())).size, 100);
  for (const [k, v] of map.entries()) t.is(v.readUInt32LE(), Number(k.readBigUInt64LE()) * 2);
});

kernelTest("batches write and read a whole hash map, each entry once", async (t) => {
  const map = opened(t, await fixtures.object("basics"))
    .load()
    .map("flows_with_a_long_name");
  const keys = new BigUint64Array(4000).map((_, i) => BigInt(i));
  t.is(
    map.updateBatch(
      keys,
      new Uint32Array(4000).map((_, i) => i * 3),
    ),
    4000,
  );
  const seen = new Map<bigint, number>();
  for (const batch of map.lookupBatches(64)) {
    for (let i = 0; i < batch.count; i++) {
      const k = batch.keys.readBigUInt64LE(i * 8);
      t.false(seen.has(k));
      seen.set(k, batch.values.readUInt32LE(i * 4));
    }
  }
  t.is(seen.size, 4000);
  t.is(seen.get(1234n), 3702);
  t.is(map.deleteBatch(keys.subarray(0, 3999)), 3999);
  t.is([...map.keys()].length, 1);
});

kernelTest("batches read an array, and an empty map gives none", async (t) => {
  const object = opened(t, await fixtures.object("basics")).load();
  object.map("counters").updateBatch(new Uint32Array([0, 7]), new BigUint64Array([5n, 6n]));
  const [batch, ...rest] = object.map("counters").lookupBatches();
  t.is(rest.length, 0);
  t.is(batch?.count, 8);
  t.is(batch?.values.readBigUInt64LE(7 * 8), 6n);
  t.deepEqual([...object.map("flows_with_a_long_name").lookupBatches()], []);
});

kernelTest("a batch that does not fit says how far it came", async (t) => {
  const map = opened(t, await fixtures.object("basics"))
    .load()
    .map("counters");
  t.throws(() => map.updateBatch(new Uint32Array([0, 1, 99]), new BigUint64Array(3)), {
    instanceOf: BpfError,
    message: /after 2 of 3 entries/,
  });
});

kernelTest("a per-CPU value has one slice a possible CPU", async (t) => {
  const object = opened(t, await fixtures.object("basics")).load();
  const map = object.map("per_cpu");
  const slices = Array.from({ length: possibleCpus() }, (_, cpu) => u32(cpu + 10));
  map.updatePerCpu(1, slices);
  t.deepEqual(
    map.lookupPerCpu(1)?.map((slice) => slice.readUInt32LE()),
    slices.map((slice) => slice[0]),
  );
  object.program("count").testRun({ data: FRAME, repeat: 20 });
  const sum = map.lookupPerCpu(0)?.reduce((total, slice) => total + slice.readUInt32LE(), 0);
  t.is(sum, 20);
});

kernelTest("a frozen map takes no update", async (t) => {
  const map = opened(t, await fixtures.object("basics"))
    .load()
    .map("table");
  map.freeze();
  t.throws(() => map.update(0, new BigUint64Array(1)), { instanceOf: BpfError, message: /not permitted/ });
});

kernelTest("sizes and flags set before load count, and cannot be set afterwards", async (t) => {
  const object = opened(t, await fixtures.object("basics"));
  object.map("counters").setMaxEntries(77);
  object.map("table").setValueSize(24);
  object.map("table").setFlags(BPF_F_MMAPABLE);
  object.load();
  t.is(object.map("counters").info().maxEntries, 77);
  t.is(object.map("table").info().flags, BPF_F_MMAPABLE);
  t.is(object.map("table").info().valueSize, 24);
  t.throws(() => object.map("counters").setMaxEntries(5), { instanceOf: BpfError, message: /before load/ });
  t.throws(() => object.map("table").setFlags(0), { instanceOf: BpfError, message: /before load/ });
});

kernelTest("a value of 64 MB makes the way there and back", async (t) => {
  const object = opened(t, await fixtures.object("basics"));
  const bytes = 64 << 20;
  object.map("table").setValueSize(bytes);
  object.load();
  const value = new Uint32Array(bytes / 4).map((_, i) => i);
  object.map("table").update(0, value);
  const back = new Uint32Array(bytes / 4);
  object.map("table").lookup(0, back);
  t.is(Buffer.compare(new Uint8Array(value.buffer), new Uint8Array(back.buffer)), 0);
});

kernelTest("a pinned map outlives its object", async (t) => {
  const path = `${ownBpffs(t)}/counters`;
  const object = opened(t, await fixtures.object("basics")).load();
  object.map("counters").update(3, new BigUint64Array([99n]));
  object.map("counters").pin(path);
  t.throws(() => object.map("counters").pin(path), { message: /EEXIST\); unpin/ });
  object.close();
  const map = BpfMap.openPinned(path);
  t.is(map.lookup(3)?.readBigUInt64LE(), 99n);
  map.close();
  map.close();
  t.throws(() => map.lookup(3), { instanceOf: ClosedError });
});

kernelTest("an object takes over another one's map", async (t) => {
  const path = await fixtures.object("basics");
  const first = opened(t, path).load();
  first.program("count").testRun({ data: FRAME, repeat: 5 });
  const second = opened(t, path);
  second.map("counters").reuse(first.map("counters"));
  second.load();
  first.close();
  second.program("count").testRun({ data: FRAME });
  t.is(second.map("counters").lookup(0)?.readBigUInt64LE(), 6n);
});

kernelTest("a map with another shape is not taken over", async (t) => {
  const path = await fixtures.object("basics");
  const first = opened(t, path);
  first.map("counters").setMaxEntries(3);
  first.load();
  const pin = `${ownBpffs(t)}/counters`;
  first.map("counters").pin(pin);
  const second = opened(t, path);
  second.map("counters").setPinPath(pin);
  t.throws(() => second.load(), { instanceOf: BpfError, message: /counters/ });
});

kernelTest("a pin path shares a map between two objects", async (t) => {
  const path = await fixtures.object("basics");
  const pin = `${ownBpffs(t)}/counters`;
  const [first, second] = [opened(t, path), opened(t, path)];
  for (const object of [first, second]) {
    object.map("counters").setPinPath(pin);
    object.load();
  }
  first.map("counters").update(2, new BigUint64Array([8n]));
  t.is(second.map("counters").lookup(2)?.readBigUInt64LE(), 8n);
  t.is(first.map("counters").info().id, second.map("counters").info().id);
});

kernelTest("the inner map of a map-in-map is swapped under a running program", async (t) => {
  const object = opened(t, await fixtures.object("nested")).load();
  const run = () => object.program("read_inner").testRun({ data: FRAME }).retval;
  const shape = { name: "inner", type: MapType.array, keySize: 4, valueSize: 4, maxEntries: 1, flags: 0 };
  t.is(run(), 0xffffffff);
  for (const value of [5, 6]) {
    using inner = BpfMap.create(shape);
    inner.update(0, u32(value));
    object.map("outer").update(1, u32(inner.fd));
    t.is(run(), value);
  }
});

kernelTest("a map of no known type is refused by name", (t) => {
  const shape = { name: "odd", type: 9999, keySize: 4, valueSize: 4, maxEntries: 1, flags: 0 };
  t.throws(() => BpfMap.create(shape), { instanceOf: BpfError, message: /create map odd/ });
});

kernelTest("a pin outside bpffs is refused with the way out", async (t) => {
  const map = opened(t, await fixtures.object("basics"))
    .load()
    .map("counters");
  t.throws(() => map.pin(`${fixtures.folder}/pin`), { instanceOf: BpfError, message: /ensureBpffs/ });
});
