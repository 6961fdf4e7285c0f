import { readFileSync } from "node:fs";
import test from "ava";
import {
  BpfError,
  BpfObject,
  ClosedError,
  InvalidObjectError,
  StateError,
  UnknownNameError,
} from "libbpf-ts";
import { FRAME, fixtureFolder, kernelTest, opened } from "./support/bpf-test.js";

const fixtures = fixtureFolder(test);

test("open lists maps and programs under their full names", async (t) => {
  const object = opened(t, await fixtures.object("basics"));
  t.is(object.name, "basics");
  t.deepEqual(
    [...object.maps.keys()],
    ["counters", "per_cpu", "flows_with_a_long_name", "table", ".rodata", ".data", ".bss"],
  );
  t.true(object.programs.has("constants"));
  t.is(object.program("xdp_pass").section, "xdp");
  t.false(object.loaded);
});

test("open takes an object from memory", async (t) => {
  const bytes = readFileSync(await fixtures.object("basics"));
  using object = BpfObject.open(bytes, { name: "mine" });
  t.is(object.name, "mine");
  t.is(object.map("counters").shape.maxEntries, 8);
});

test("a missing file is named, with its errno", (t) => {
  const error = t.throws(() => BpfObject.open("/nowhere/x.bpf.o"), { instanceOf: BpfError });
  t.is(error.code, "ENOENT");
  t.regex(error.message, /\/nowhere\/x\.bpf\.o/);
});

test("what is no ELF file is refused", (t) => {
  const error = t.throws(() => BpfObject.open(Buffer.from("int main() {}")), {
    instanceOf: InvalidObjectError,
  });
  t.regex(error.message, /not an ELF file; compile it with clang -target bpf/);
});

test("an ELF file of another machine is refused", (t) => {
  const error = t.throws(() => BpfObject.open("/bin/true"), { instanceOf: InvalidObjectError });
  t.regex(error.message, /machine/);
});

test("an object cut off at any length is refused with a typed error", async (t) => {
  const bytes = readFileSync(await fixtures.object("basics"));
  for (let length = 0; length < bytes.length; length += 61) {
    t.throws(
      () => BpfObject.open(bytes.subarray(0, length)),
      { instanceOf: InvalidObjectError },
      `${length} bytes`,
    );
  }
});

test("an unknown map or program is answered with the known ones", async (t) => {
  const object = opened(t, await fixtures.object("basics"));
  t.throws(() => object.map("nope"), {
    instanceOf: UnknownNameError,
    message: /no map named "nope"; .*counters/,
  });
  t.throws(() => object.program("nope"), { instanceOf: UnknownNameError, message: /constants, count/ });
});

test("a map cannot be used before load", async (t) => {
  const object = opened(t, await fixtures.object("basics"));
  t.throws(() => object.map("counters").lookup(0), { instanceOf: StateError, message: /load\(\)/ });
  t.throws(() => object.program("count").testRun({ data: FRAME }), { instanceOf: StateError });
});

kernelTest("everything of a closed object throws ClosedError", async (t) => {
  const object = BpfObject.open(await fixtures.object("basics")).load();
  const map = object.map("counters");
  const program = object.program("count");
  object.close();
  object.close();
  t.true(object.closed);
  for (const use of [
    () => map.lookup(0),
    () => map.update(0, new BigUint64Array(1)),
    () => map.fd,
    () => map.setMaxEntries(3),
    () => program.testRun({ data: FRAME }),
    () => program.autoload,
    () => object.load(),
    () => object.bss.get("runs"),
    () => object.rodata.set("factor", 1),
  ]) {
    t.throws(use, { instanceOf: ClosedError });
  }
});

kernelTest("load happens once", async (t) => {
  const object = opened(t, await fixtures.object("basics")).load();
  t.throws(() => object.load(), { instanceOf: StateError, message: /loaded already/ });
});

kernelTest("a program with autoload off does not reach the kernel", async (t) => {
  const object = opened(t, await fixtures.object("basics"));
  object.program("count").autoload = false;
  object.load();
  t.throws(() => object.program("count").fd, { instanceOf: StateError, message: /autoload/ });
  t.true(object.program("pass").fd > 0);
  t.throws(() => (object.program("pass").autoload = false), { instanceOf: BpfError });
});
