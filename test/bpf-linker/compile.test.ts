import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test, { type ExecutionContext } from "ava";
import { CompileError, type CompileOptions, compile, parseDiagnostics } from "bpf-linker";
import { BpfError, BpfObject, Btf } from "libbpf-ts";

const LICENSE = `#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
char _license[] SEC("license") = "GPL";
`;

/** A folder with one source; compiling it uses a cache in the same folder. */
function source(t: ExecutionContext, text: string) {
  const folder = mkdtempSync(join(tmpdir(), "bpf linker "));
  t.teardown(() => rmSync(folder, { recursive: true }));
  const file = join(folder, "x.bpf.c");
  const output = join(folder, "x.bpf.o");
  writeFileSync(file, text);
  const build = (options: Partial<CompileOptions> = {}) =>
    compile(file, { output, cache: join(folder, "cache"), ...options });
  return { folder, file, output, build };
}

test("an object with BTF comes out", async (t) => {
  const { build, output } = source(
    t,
    `${LICENSE}SEC("tc") int f(struct __sk_buff *skb) { return skb->len; }\n`,
  );
  const result = await build();
  t.deepEqual(result, { object: output, warnings: [], cached: false });
  t.is(Btf.parse(readFileSync(output)).datasec("license").variables[0]?.name, "_license");
});

test("an error has file, line, column and the compiler's words", async (t) => {
  const { build, file, folder } = source(
    t,
    `${LICENSE}int f(void) { return nothing; }\nint g(void) { return x }\n`,
  );
  const error = await t.throwsAsync(build(), { instanceOf: CompileError });
  const [first] = error?.diagnostics ?? [];
  t.deepEqual(first, {
    severity: "error",
    message: "use of undeclared identifier 'nothing'",
    file,
    line: 4,
    column: 22,
  });
  t.true(error?.message.includes(`${file}:4:22: error: use of undeclared identifier 'nothing' (and `));
  t.deepEqual(readdirSync(folder).sort(), ["x.bpf.c"], "a failure leaves nothing behind");
});

test("a missing header of libbpf comes with the package that has it", async (t) => {
  const { build } = source(t, "#include <bpf/no_such_header.h>\n");
  await t.throwsAsync(build(), { instanceOf: CompileError, message: /install libbpf's headers/ });
});

test("a missing source is named", async (t) => {
  await t.throwsAsync(compile("/nowhere/x.bpf.c", { output: "/nowhere/x.o" }), {
    instanceOf: BpfError,
    message: /compile \/nowhere\/x\.bpf\.c: there is no such file/,
  });
});

test("warnings are given, on a cache hit too", async (t) => {
  const { build } = source(t, `${LICENSE}int f(void) { int unused; return 0; }\n`);
  for (const cached of [false, true]) {
    const result = await build();
    t.is(result.cached, cached);
    t.like(result.warnings, [{ severity: "warning", line: 4 }]);
  }
});

test("defines and includes reach the compiler", async (t) => {
  const { build, folder } = source(
    t,
    `${LICENSE}#include "own.h"\nconst volatile int v = NUMBER;\n#ifndef FLAG\n#error\n#endif\n`,
  );
  writeFileSync(join(folder, "own.h"), "#define NUMBER (BASE + 1)\n");
  const { object } = await build({ includes: [folder], defines: { BASE: 41, FLAG: true } });
  using opened = BpfObject.open(object);
  t.is(opened.rodata.get("v"), 42);
});

test("nothing changed: the object comes from the cache, byte for byte", async (t) => {
  const { build, output } = source(t, LICENSE);
  await build();
  const first = readFileSync(output);
  rmSync(output);
  t.true((await build()).cached);
  t.deepEqual(readFileSync(output), first);
});

test("a changed header, source or flag compiles again", async (t) => {
  const { build, file, folder, output } = source(
    t,
    `${LICENSE}#include "own.h"\nconst volatile int v = NUMBER;\n`,
  );
  const header = join(folder, "own.h");
  const value = () => {
    using object = BpfObject.open(output);
    return object.rodata.get("v");
  };
  writeFileSync(header, "#define NUMBER 1\n");
  t.false((await build()).cached);
  writeFileSync(header, "#define NUMBER 2\n");
  t.false((await build()).cached);
  t.is(value(), 2);
  writeFileSync(file, `${LICENSE}const volatile int v = 3;\n`);
  t.false((await build()).cached);
  t.is(value(), 3);
  t.false((await build({ cpu: "v2" })).cached);
  t.false((await build({ defines: { UNUSED: 1 } })).cached);
  t.true((await build()).cached);
});

test("a damaged cache entry is compiled again", async (t) => {
  const { build, folder } = source(t, LICENSE);
  await build();
  const cache = join(folder, "cache");
  for (const name of readdirSync(cache)) {
    if (name.endsWith(".json")) writeFileSync(join(cache, name), '{"inp');
  }
  t.false((await build()).cached);
  t.true((await build()).cached);
});

test("messages without a place are diagnostics too", (t) => {
  t.deepEqual(
    parseDiagnostics("clang: error: no such file: 'x'\nfatal error: error in backend: no\n  | ^\n"),
    [
      { severity: "error", message: "no such file: 'x'" },
      { severity: "error", message: "error in backend: no" },
    ],
  );
});
