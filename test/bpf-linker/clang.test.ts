import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test, { type ExecutionContext } from "ava";
import { findClang, MissingCompilerError, OLDEST_CLANG } from "bpf-linker";

/** A PATH with one folder for each version, in which a clang says that it is that one. */
function fakePath(t: ExecutionContext, clangs: readonly [file: string, version: string][]): string {
  const root = mkdtempSync(join(tmpdir(), "clang-"));
  t.teardown(() => rmSync(root, { recursive: true }));
  return clangs
    .map(([file, version], index) => {
      const folder = join(root, String(index));
      mkdirSync(folder);
      writeFileSync(join(folder, file), `#!/bin/sh\necho "Some clang version ${version}"\n`, { mode: 0o755 });
      return folder;
    })
    .join(":");
}

test("the clang installed here is found", async (t) => {
  const clang = await findClang();
  t.true(clang.major >= OLDEST_CLANG);
  t.regex(clang.version, /clang version/);
});

test("the newest clang is taken, whatever its file is called", async (t) => {
  const path = fakePath(t, [
    ["clang", "15.0.7"],
    ["clang-19", "19.1.0"],
    ["clang-9", "9.0.1"],
    ["clang-format-20", "20.1.0"],
  ]);
  const clang = await findClang(`/nowhere:${path}`);
  t.is(clang.major, 19);
  t.regex(clang.path, /clang-19$/);
});

test("no clang at all: the error says what to install", async (t) => {
  await t.throwsAsync(findClang("/nowhere"), {
    instanceOf: MissingCompilerError,
    message: /install clang 14/,
  });
});

test("only an old clang: the error names it", async (t) => {
  await t.throwsAsync(findClang(fakePath(t, [["clang-11", "11.0.1"]])), {
    instanceOf: MissingCompilerError,
    message: /clang-11, version 11; install clang 14/,
  });
});
