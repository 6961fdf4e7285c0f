import { readFileSync } from "node:fs";
import { performance } from "node:perf_hooks";
import { setImmediate } from "node:timers/promises";
import test, { type ExecutionContext } from "ava";
import {
  ArgumentError,
  BpfError,
  type BpfObject,
  Btf,
  ClosedError,
  type Codec,
  codec,
  MappedArray,
  modelOf,
  PerfBuffer,
  RingBuffer,
  u32,
  u64,
} from "libbpf-ts";
import { FRAME, fixtureFolder, kernelTest, opened } from "./support/bpf-test.js";
import { runModule } from "./support/child.js";

const fixtures = fixtureFolder(test);

interface Event {
  number: number;
}

async function eventCodec(path: string): Promise<Codec<Event>> {
  const btf = Btf.parse(readFileSync(path));
  return codec<Event>(
    modelOf(
      btf,
      btf.types.findIndex((type) => type.name === "event"),
    ),
  );
}

/** struct __sk_buff with a mark, which tells the programs here how many events to send. */
function marked(mark: number): { data: Uint8Array; ctx: Buffer } {
  const ctx = Buffer.alloc(192);
  ctx.writeUInt32LE(mark, 8);
  return { data: FRAME, ctx };
}

const emit = (object: BpfObject, count: number): number =>
  object.program("emit").testRun(marked(count)).retval;

async function ringOf(t: ExecutionContext) {
  const path = await fixtures.object("typed");
  const object = opened(t, path).load();
  const ring = new RingBuffer(object.map("events"), await eventCodec(path));
  t.teardown(() => ring.close());
  return { object, ring };
}

kernelTest("events come in order, discarded records left out", async (t) => {
  const { object, ring } = await ringOf(t);
  emit(object, 8);
  const events: unknown[] = [];
  t.is(
    ring.drain((event) => events.push(event)),
    6,
  );
  t.deepEqual(
    events,
    [0, 1, 2, 4, 5, 6].map((number) => ({ number, color: 300, time: 1n << 40n })),
  );
  t.is(
    ring.drain(() => t.fail()),
    0,
  );
});

kernelTest("a ring that is full takes events again once it is read, many times around", async (t) => {
  const { object, ring } = await ringOf(t);
  const capacity = 65_536 / 24;
  let read = 0;
  for (let round = 0; round < 50; round++) {
    const lost = emit(object, 4096);
    t.true(Math.abs(4096 - lost - capacity) <= 1, `${lost} lost`);
    read += ring.drain(() => undefined);
  }
  t.true(read > 50 * 2000);
});

kernelTest("a limit leaves the rest", async (t) => {
  const { object, ring } = await ringOf(t);
  emit(object, 3);
  t.is(
    ring.drain(() => undefined, 2),
    2,
  );
  const rest: number[] = [];
  ring.drain((event) => rest.push(event.number));
  t.deepEqual(rest, [2]);
});

kernelTest("without a codec an event is its bytes", async (t) => {
  const object = opened(t, await fixtures.object("typed")).load();
  using ring = new RingBuffer(object.map("events"));
  emit(object, 1);
  ring.drain((bytes) => t.is(bytes.length, 16));
});

kernelTest("a handler that throws has had its event, and the next one comes", async (t) => {
  const { object, ring } = await ringOf(t);
  emit(object, 2);
  const refuse = () => {
    throw new Error("mine");
  };
  t.throws(() => ring.drain(refuse), { message: "mine" });
  const rest: number[] = [];
  ring.drain((event) => rest.push(event.number));
  t.deepEqual(rest, [1]);
});

kernelTest("a record shorter than its type is an error, not other memory", async (t) => {
  const object = opened(t, await fixtures.object("typed")).load();
  const path = await fixtures.object("typed");
  const btf = Btf.parse(readFileSync(path));
  const everything = codec(
    modelOf(
      btf,
      btf.types.findIndex((type) => type.name === "everything"),
    ),
  );
  using ring = new RingBuffer(object.map("events"), everything);
  emit(object, 1);
  t.throws(() => ring.drain(() => undefined), {
    instanceOf: BpfError,
    message: /16 bytes, where its type has 152/,
  });
});

kernelTest("consume wakes up for events that come later, and ends by its signal", async (t) => {
  const { object, ring } = await ringOf(t);
  const abort = new AbortController();
  const numbers: number[] = [];
  const consumed = ring.consume(({ number }) => numbers.push(number), { signal: abort.signal });
  for (let round = 1; round <= 20; round++) {
    emit(object, 1);
    while (numbers.length < round) await setImmediate();
  }
  abort.abort();
  await consumed;
  emit(object, 1);
  t.is(numbers.length, 20);
  t.is(
    ring.drain(() => undefined),
    1,
  );
});

kernelTest("an iteration gives each event and ends with close", async (t) => {
  const { object, ring } = await ringOf(t);
  emit(object, 3);
  const numbers: number[] = [];
  for await (const { number } of ring) {
    numbers.push(number);
    if (number === 2) {
      if (numbers.length > 3) ring.close();
      else emit(object, 3);
    }
  }
  t.deepEqual(numbers, [0, 1, 2, 0, 1, 2]);
  t.throws(() => ring.drain(() => undefined), { instanceOf: ClosedError });
});

kernelTest("two rings wait at the same time", async (t) => {
  const [a, b] = [await ringOf(t), await ringOf(t)];
  const seen: string[] = [];
  const done = [a.ring.consume(() => seen.push("a")), b.ring.consume(() => seen.push("b"))];
  emit(b.object, 1);
  while (!seen.includes("b")) await setImmediate();
  emit(a.object, 1);
  while (!seen.includes("a")) await setImmediate();
  t.deepEqual(seen, ["b", "a"]);
  a.ring.close();
  b.ring.close();
  await Promise.all(done);
});

kernelTest("a process that waits for events ends when it wants to", async (t) => {
  const started = performance.now();
  const output = runModule(`
    import { BpfObject, RingBuffer } from "libbpf-ts";
    const object = BpfObject.open(${JSON.stringify(await fixtures.object("typed"))}).load();
    new RingBuffer(object.map("events")).consume(() => {});
    setTimeout(() => { console.log("ends"); process.exit(0); }, 50);
  `);
  t.is(output, "ends");
  t.true(performance.now() - started < 5000);
});

kernelTest("another type of map is no ring buffer and no perf buffer", async (t) => {
  const object = opened(t, await fixtures.object("typed")).load();
  t.throws(() => new RingBuffer(object.map("flows")), { instanceOf: ArgumentError, message: /type hash/ });
  t.throws(() => new PerfBuffer(object.map("flows")), { instanceOf: ArgumentError, message: /type hash/ });
});

kernelTest("a perf buffer gives events with their CPU, and counts the lost ones", async (t) => {
  const path = await fixtures.object("perf");
  const object = opened(t, path).load();
  using perf = new PerfBuffer(object.map("events"), await eventCodec(path), { pages: 1 });
  emit(object, 3);
  const events: unknown[] = [];
  t.is(
    perf.drain(({ cpu, data }) => events.push([cpu < 1024, data])),
    3,
  );
  t.deepEqual(
    events,
    [0, 1, 2].map((number) => [true, { number, length: FRAME.length }]),
  );
  emit(object, 1024);
  const kept = perf.drain(() => undefined);
  emit(object, 1);
  perf.drain(() => undefined);
  t.is(perf.lost, 1024 - kept);
  t.true(perf.lost > 0);
});

kernelTest("a perf buffer is waited for like a ring buffer", async (t) => {
  const path = await fixtures.object("perf");
  const object = opened(t, path).load();
  const perf = new PerfBuffer(object.map("events"));
  let count = 0;
  const consumed = perf.consume(({ data }) => {
    count += data.length > 0 ? 1 : 0;
  });
  emit(object, 2);
  while (count < 2) await setImmediate();
  perf.close();
  await consumed;
  t.is(count, 2);
  t.throws(() => perf.drain(() => undefined), { instanceOf: ClosedError });
});

kernelTest("a mapped array is the program's own memory", async (t) => {
  const object = opened(t, await fixtures.object("typed")).load();
  using array = new MappedArray(object.map("mapped"), codec<bigint>(u64));
  array.set(7, 41n);
  object.program("bump").testRun(marked(7));
  t.is(array.get(7), 42n);
  t.is(object.map("mapped").lookup(7)?.readBigUInt64LE(), 42n);
  t.throws(() => array.get(1024), { instanceOf: ArgumentError, message: /has 1024/ });
  const { memory } = array;
  array.close();
  t.throws(() => array.get(7), { instanceOf: ClosedError });
  object.close();
  t.is(memory.getBigUint64(7 * 8, true), 42n, "memory that is referred to stays mapped");
});

kernelTest("a map that cannot be mapped says what its definition needs", async (t) => {
  const object = opened(t, await fixtures.object("basics")).load();
  t.throws(() => new MappedArray(object.map("counters"), codec<bigint>(u64)), { message: /BPF_F_MMAPABLE/ });
  const other = opened(t, await fixtures.object("typed")).load();
  t.throws(() => new MappedArray(other.map("mapped"), codec<number>(u32)), {
    message: /4 bytes; its values have 8/,
  });
});
