import test from "ava";
import { BpfError, BpfProgram } from "libbpf-ts";
import { FRAME, fixtureFolder, kernelTest, opened } from "./support/bpf-test.js";
import { ownBpffs } from "./support/bpffs.js";

const fixtures = fixtureFolder(test);
/** Offsets in struct __sk_buff (linux/bpf.h). */
const SKB_MARK = 8;
const SKB_PRIORITY = 32;
const SKB_BYTES = 192;

kernelTest("a test run returns the packet as the program left it", async (t) => {
  const program = opened(t, await fixtures.object("basics"))
    .load()
    .program("grow");
  const { retval, dataOut } = program.testRun({ data: FRAME, dataOut: 128 });
  t.is(retval, 0);
  t.is(dataOut.length, FRAME.length + 8);
  t.is(Buffer.from(dataOut).readBigUInt64LE(), 0x1122334455667788n);
});

kernelTest("without dataOut nothing is copied", async (t) => {
  const program = opened(t, await fixtures.object("basics"))
    .load()
    .program("grow");
  t.is(program.testRun({ data: FRAME }).dataOut.length, 0);
});

kernelTest("a dataOut that is too small says how much is needed", async (t) => {
  const program = opened(t, await fixtures.object("basics"))
    .load()
    .program("grow");
  t.throws(() => program.testRun({ data: FRAME, dataOut: 10 }), {
    instanceOf: BpfError,
    message: /72 bytes/,
  });
});

kernelTest("the context goes in and comes out", async (t) => {
  const program = opened(t, await fixtures.object("basics"))
    .load()
    .program("read_mark");
  const ctx = Buffer.alloc(SKB_BYTES);
  ctx.writeUInt32LE(0xabcd, SKB_MARK);
  const { retval, ctxOut } = program.testRun({ data: FRAME, ctx, ctxOut: Buffer.alloc(SKB_BYTES) });
  t.is(retval, 0xabcd);
  t.is(Buffer.from(ctxOut).readUInt32LE(SKB_PRIORITY), 42);
});

kernelTest("a packet shorter than an Ethernet header is refused with the reason", async (t) => {
  const program = opened(t, await fixtures.object("basics"))
    .load()
    .program("pass");
  t.throws(() => program.testRun({ data: new Uint8Array(5) }), { instanceOf: BpfError, message: /14 bytes/ });
});

kernelTest("repeat runs the program so many times and measures it", async (t) => {
  const object = opened(t, await fixtures.object("basics")).load();
  const { duration } = object.program("count").testRun({ data: FRAME, repeat: 1000 });
  t.is(object.map("counters").lookup(0)?.readBigUInt64LE(), 1000n);
  t.true(duration > 0 && duration < 100_000);
});

kernelTest("info names the program and counts its instructions", async (t) => {
  const object = opened(t, await fixtures.object("basics")).load();
  const info = object.program("count").info();
  t.is(info.name, "count");
  t.is(info.typeName, "sched_cls");
  t.regex(info.tag, /^[0-9a-f]{16}$/);
  t.true(info.xlatedInstructions > 5);
  t.is(object.program("xdp_pass").info().typeName, "xdp");
  using same = BpfProgram.fromId(info.id);
  t.is(same.info().tag, info.tag);
});

kernelTest("a pinned program outlives its object", async (t) => {
  const path = `${ownBpffs(t)}/read_mark`;
  const object = opened(t, await fixtures.object("basics")).load();
  object.program("read_mark").pin(path);
  object.close();
  using program = BpfProgram.openPinned(path);
  t.is(program.name, "read_mark");
  t.is(program.testRun({ data: FRAME }).retval, 0);
});

kernelTest("what is not pinned is said to be missing", (t) => {
  const path = `${ownBpffs(t)}/none`;
  t.throws(() => BpfProgram.openPinned(path), { instanceOf: BpfError, message: /ENOENT.*nothing is pinned/ });
});
