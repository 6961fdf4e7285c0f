import { createHash } from "node:crypto";
import {
  appendFileSync,
  copyFileSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test, { type ExecutionContext } from "ava";
import { CompileError, compile, LlvmError, link, linkLlvm, reportObject, vmlinuxHeader } from "bpf-linker";
import { BpfError, BpfObject } from "libbpf-ts";
import { kernelTest } from "../libbpf-ts/support/bpf-test.js";

const FIXTURES = ["main", "decide"].map((name) => `test/bpf-linker/fixtures/${name}.bpf.c`);

function ownFolder(t: ExecutionContext): string {
  const folder = mkdtempSync(join(tmpdir(), "llvm-"));
  t.teardown(() => rmSync(folder, { recursive: true }));
  return folder;
}

kernelTest("LLVM: a function of another file is inlined, and the program runs", async (t) => {
  const folder = ownFolder(t);
  const { object } = await linkLlvm(FIXTURES, { output: join(folder, "one.o"), cache: false });
  using opened = BpfObject.open(object);
  opened.load();
  const run = (bytes: number) =>
    opened.program("main_program").testRun({ data: new Uint8Array(bytes) }).retval;
  t.is(run(60), 3);
  t.is(run(200), 7);
});

test("LLVM: no call is left where libbpf's linker keeps one, and the report shows it", async (t) => {
  const folder = ownFolder(t);
  const { object } = await linkLlvm(FIXTURES, { output: join(folder, "llvm.o"), cache: false });
  const parts = await Promise.all(
    FIXTURES.map((file, i) => compile(file, { output: join(folder, `${i}.o`), cache: false })),
  );
  const linked = link(
    parts.map((part) => part.object),
    join(folder, "linked.o"),
  );
  const [byLlvm, byLibbpf] = [reportObject(object), reportObject(linked)];
  t.is(byLlvm.codeBytes, (byLlvm.programs[0]?.instructions ?? 0) * 8, "the program is all the code");
  t.true(
    byLibbpf.codeBytes > (byLibbpf.programs[0]?.instructions ?? 0) * 8,
    "the function is code beside it",
  );
  t.is(byLlvm.programs[0]?.section, "tc");
  t.true(byLlvm.btfBytes > 100 && byLlvm.fileBytes > byLlvm.btfBytes);
});

test("LLVM: global variables stay, though only user space reads them", async (t) => {
  const folder = ownFolder(t);
  const source = join(folder, "x.bpf.c");
  writeFileSync(
    source,
    `#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
__u64 written; const volatile __u32 constant = 5; int helper(int x) { return x + 1; }
SEC("tc") int f(struct __sk_buff *skb) { written = helper(skb->len); return constant; }
char _license[] SEC("license") = "GPL";
`,
  );
  const { object } = await linkLlvm([source], {
    output: join(folder, "x.o"),
    cache: false,
    exports: ["helper"],
  });
  using opened = BpfObject.open(object);
  t.deepEqual(opened.bss.names(), ["written"]);
  t.is(opened.rodata.get("constant"), 5);
  t.true(
    reportObject(object).codeBytes > opened.program("f").instructions * 8,
    "what is exported stays a function",
  );
});

test("LLVM: a symbol defined twice and a broken source have their errors", async (t) => {
  const folder = ownFolder(t);
  const copy = join(folder, "copy.bpf.c");
  copyFileSync(FIXTURES[1] ?? "", copy);
  const output = join(folder, "x.o");
  const error = await t.throwsAsync(linkLlvm([...FIXTURES, copy], { output, cache: false }), {
    instanceOf: LlvmError,
  });
  t.is(error?.tool, "llvm-link");
  t.regex(error?.message ?? "", /decide.*; define it in one file/);
  writeFileSync(copy, "int f(void) { return nothing; }\n");
  await t.throwsAsync(linkLlvm([copy], { output, cache: false }), { instanceOf: CompileError });
});

test("LLVM: missing tools are named with the package that has them", async (t) => {
  const folder = ownFolder(t);
  const clang = { path: join(folder, "clang"), major: 99, version: "clang version 99" };
  writeFileSync(clang.path, '#!/bin/sh\nexec clang "$@"\n', { mode: 0o755 });
  await t.throwsAsync(linkLlvm(FIXTURES, { output: join(folder, "x.o"), cache: false, clang }), {
    instanceOf: LlvmError,
    message: /llvm-link is missing; install LLVM 99's tools/,
  });
});

kernelTest("vmlinux.h of the running kernel compiles, relocates and comes from the cache", async (t) => {
  const folder = ownFolder(t);
  const cache = join(folder, "cache");
  const header = { output: join(folder, "vmlinux.h"), cache };
  await vmlinuxHeader(header);
  const kept = join(cache, readdirSync(cache).find((name) => name.endsWith(".h")) as string);
  appendFileSync(kept, "/* from the cache */\n");
  await vmlinuxHeader(header);
  t.false(readFileSync(header.output, "utf8").endsWith("/* from the cache */\n"), "not as it was stored");
  appendFileSync(kept, "/* from the cache */\n");
  writeFileSync(`${kept}.sha256`, createHash("sha256").update(readFileSync(kept)).digest("hex"));
  await vmlinuxHeader(header);
  t.true(readFileSync(header.output, "utf8").endsWith("/* from the cache */\n"));
  const source = join(folder, "x.bpf.c");
  writeFileSync(
    source,
    `#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
struct net_device___mine { int ifindex; } __attribute__((preserve_access_index));
SEC("tc") int f(struct __sk_buff *skb) { return bpf_core_field_offset(struct net_device___mine, ifindex) == bpf_core_field_offset(struct net_device, ifindex); }
char _license[] SEC("license") = "GPL";
`,
  );
  const { object } = await compile(source, { output: join(folder, "x.o"), includes: [folder], cache: false });
  using opened = BpfObject.open(object);
  t.is(
    opened
      .load()
      .program("f")
      .testRun({ data: new Uint8Array(64) }).retval,
    1,
  );
});

test("vmlinux.h: a kernel without BTF is an error that says what it needs", async (t) => {
  const folder = ownFolder(t);
  const output = join(folder, "vmlinux.h");
  await t.throwsAsync(vmlinuxHeader({ output, btf: "/nowhere" }), {
    instanceOf: BpfError,
    message: /CONFIG_DEBUG_INFO_BTF/,
  });
  writeFileSync(join(folder, "bad"), "no BTF");
  await t.throwsAsync(vmlinuxHeader({ output, btf: join(folder, "bad"), cache: false }), {
    instanceOf: BpfError,
  });
});
