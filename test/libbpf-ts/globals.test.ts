import test from "ava";
import { ArgumentError, StateError, UnknownNameError } from "libbpf-ts";
import { FRAME, fixtureFolder, kernelTest, opened } from "./support/bpf-test.js";

const fixtures = fixtureFolder(test);

kernelTest("constants of every scalar type reach the program", async (t) => {
  const object = opened(t, await fixtures.object("basics"));
  object.rodata.set("enabled", true);
  object.rodata.set("factor", 3);
  object.rodata.set("small", 200);
  object.rodata.set("negative", -50);
  object.rodata.set("wide", 10n);
  object.rodata.set("color", 7);
  object.rodata.set("list", new Uint32Array([0, 0, 40, 0]));
  object.rodata.set("pair", new Uint32Array([5, 0, 0, 0]));
  object.load();
  t.is(object.program("constants").testRun({ data: FRAME }).retval, 3000 + 200 - 50 + 10 + 7 + 40 + 5);
});

kernelTest("a constant that is false makes the verifier drop the branch behind it", async (t) => {
  const path = await fixtures.object("basics");
  const [off, on] = [false, true].map((enabled) => {
    const object = opened(t, path);
    object.rodata.set("enabled", enabled);
    return object.load().program("constants").info().xlatedInstructions;
  });
  t.true((off ?? 0) < (on ?? 0), `${off} < ${on}`);
});

test("a constant reads back by its type", async (t) => {
  const { rodata } = opened(t, await fixtures.object("basics"));
  rodata.set("negative", -3);
  rodata.set("wide", 2n ** 64n - 1n);
  rodata.set("enabled", true);
  t.is(rodata.get("factor"), 1);
  t.is(rodata.get("negative"), -3);
  t.is(rodata.get("wide"), 2n ** 64n - 1n);
  t.is(rodata.get("enabled"), true);
  t.is((rodata.get("list") as Buffer).length, 16);
});

const misfits: [variable: string, value: number | bigint | boolean][] = [
  ["small", 256],
  ["small", -1],
  ["negative", 32768],
  ["factor", 2 ** 32],
  ["factor", 1.5],
  ["wide", 2n ** 64n],
  ["wide", 2 ** 60],
  ["enabled", 2],
  ["list", 1],
];
for (const [variable, value] of misfits) {
  test(`${variable} = ${value} is refused`, async (t) => {
    const { rodata } = opened(t, await fixtures.object("basics"));
    t.throws(() => rodata.set(variable, value), { instanceOf: ArgumentError });
  });
}

test("bytes of the wrong length are refused, naming the type and its size", async (t) => {
  const { rodata } = opened(t, await fixtures.object("basics"));
  t.throws(() => rodata.set("list", new Uint32Array(3)), {
    instanceOf: ArgumentError,
    message: /12 bytes; __u32\[4\] has 16/,
  });
});

test("an unknown constant is answered with the known ones", async (t) => {
  const { rodata } = opened(t, await fixtures.object("basics"));
  t.throws(() => rodata.set("factr", 1), { instanceOf: UnknownNameError, message: /factor, small/ });
  t.false(rodata.has("factr"));
  t.true(rodata.has("factor"));
});

kernelTest("a constant cannot be set after load", async (t) => {
  const object = opened(t, await fixtures.object("basics")).load();
  t.throws(() => object.rodata.set("factor", 2), { instanceOf: StateError, message: /before load/ });
  t.is(object.rodata.get("factor"), 1);
});

kernelTest("globals set before load are the program's initial values", async (t) => {
  const object = opened(t, await fixtures.object("basics"));
  object.data.set("seed", 70);
  object.load();
  t.is(object.program("count").testRun({ data: FRAME }).retval, 71);
});

kernelTest("globals are shared with the running program", async (t) => {
  const object = opened(t, await fixtures.object("basics")).load();
  object.program("count").testRun({ data: FRAME, repeat: 10 });
  t.is(object.bss.get("runs"), 10n);
  object.bss.set("runs", 100n);
  object.data.set("seed", 1000);
  t.is(object.program("count").testRun({ data: FRAME }).retval, 1101);
});
