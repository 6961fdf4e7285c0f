#!/usr/bin/env node
/** Compiles the C for this machine's own CPU into dist/native, unless that is newer. Needs bpf-linker built: it finds clang. */
import { execFileSync } from "node:child_process";
import { mkdirSync, renameSync, statSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { findClang } from "bpf-linker";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const source = join(root, "native", "call_list.c");
const output = join(root, "dist", "native", "call_list.so");

const changed = (path) => statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? 0;

if (changed(output) < changed(source)) {
  const { path } = await findClang();
  mkdirSync(dirname(output), { recursive: true });
  const flags = ["-shared", "-fPIC", "-O2", "-nostdlib", "-Wall", "-Wextra", "-Werror"];
  // By another name first: a process may have the old one mapped.
  const fresh = `${output}.${process.pid}`;
  execFileSync(path, [...flags, "-o", fresh, source], { stdio: ["ignore", "inherit", "inherit"] });
  renameSync(fresh, output);
}
