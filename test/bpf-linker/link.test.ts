import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test, { type ExecutionContext } from "ava";
import { compile, LinkError, link } from "bpf-linker";
import { BpfObject } from "libbpf-ts";
import { kernelTest } from "../libbpf-ts/support/bpf-test.js";

async function objects(
  t: ExecutionContext,
  ...names: string[]
): Promise<{ folder: string; paths: string[] }> {
  const folder = mkdtempSync(join(tmpdir(), "link-"));
  t.teardown(() => rmSync(folder, { recursive: true }));
  const paths = await Promise.all(
    names.map(async (name) => {
      const output = join(folder, `${name}.o`);
      return (await compile(`test/bpf-linker/fixtures/${name}.bpf.c`, { output, cache: false })).object;
    }),
  );
  return { folder, paths };
}

kernelTest("a function of another object is called", async (t) => {
  const { folder, paths } = await objects(t, "main", "decide");
  const output = link(paths, join(folder, "linked.o"));
  using object = BpfObject.open(output);
  object.load();
  const run = (bytes: number) =>
    object.program("main_program").testRun({ data: new Uint8Array(bytes) }).retval;
  t.is(run(60), 3);
  t.is(run(200), 7);
});

test("an object that is no object is named, and the old output stays", async (t) => {
  const { folder, paths } = await objects(t, "decide");
  const broken = join(folder, "broken.o");
  const output = join(folder, "linked.o");
  writeFileSync(broken, "not ELF");
  writeFileSync(output, "old");
  const error = t.throws(() => link([...paths, broken], output), { instanceOf: LinkError });
  t.is(error?.file, broken);
  t.is(readFileSync(output, "utf8"), "old");
  t.deepEqual(readdirSync(folder).sort(), ["broken.o", "decide.o", "linked.o"]);
});

test("a function defined twice is refused with its name", async (t) => {
  const { folder, paths } = await objects(t, "decide");
  const [decide = ""] = paths;
  const copy = join(folder, "copy.o");
  writeFileSync(copy, readFileSync(decide));
  const error = t.throws(() => link([decide, copy], join(folder, "linked.o")), { instanceOf: LinkError });
  t.regex(error?.log ?? "", /decide/);
});

test("a missing object is named", (t) => {
  const error = t.throws(() => link(["/nowhere/a.o"], "/nowhere/b.o"), { instanceOf: LinkError });
  t.is(error?.file, "/nowhere/a.o");
  t.regex(error?.message ?? "", /link \/nowhere\/a\.o/);
});

test("a function that no object has is refused with its name when the result is opened", async (t) => {
  const { folder, paths } = await objects(t, "main");
  const output = link(paths, join(folder, "linked.o"));
  t.throws(() => BpfObject.open(output).load(), { message: /decide/ });
});
