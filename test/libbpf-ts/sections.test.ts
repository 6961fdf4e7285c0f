import { join } from "node:path";
import test from "ava";
import { BpfObject, linkObjects, UnknownNameError } from "libbpf-ts";
import { FRAME, fixtureFolder, kernelTest } from "./support/bpf-test.js";

const fixtures = fixtureFolder(test);
const ENTRIES = 5000;
const table = Uint32Array.from({ length: ENTRIES }, (_, i) => 1000 + i);
const sections = new Map([[".rodata.table", new Uint8Array(table.buffer)]]);

for (const by of ["the compiler", "the linker"])
  kernelTest(`a section gets other contents and another size, in an object of ${by}`, async (t) => {
    let path = await fixtures.object("sections");
    if (by === "the linker") {
      const linked = join(fixtures.folder, "linked.bpf.o");
      linkObjects([path], linked);
      path = linked;
    }
    using object = BpfObject.open(path, { sections });
    object.rodata.set("last", ENTRIES - 1);
    object.load();
    t.is(object.map(".rodata.table").shape.valueSize, 4 * ENTRIES);
    t.is(object.program("entry").testRun({ data: FRAME }).retval, 1000 + FRAME.length);
  });

kernelTest("two objects share the map of a section", async (t) => {
  const path = await fixtures.object("sections");
  using first = BpfObject.open(path, { sections }).load();
  using second = BpfObject.open(path, { sections });
  second.map(".rodata.table").reuse(first.map(".rodata.table"));
  second.load();
  t.is(second.map(".rodata.table").info().id, first.map(".rodata.table").info().id);
});

test("a section that is not there is named", async (t) => {
  const path = await fixtures.object("sections");
  const wrong = new Map([[".rodata.tables", new Uint8Array(4)]]);
  const error = t.throws(() => BpfObject.open(path, { sections: wrong }), { instanceOf: UnknownNameError });
  t.regex(error.message, /\.rodata\.tables/);
});
