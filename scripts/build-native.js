#!/usr/bin/env node
/** Compiles the C for this machine's own CPU into dist/native, what is newer there aside. Needs bpf-linker built: it finds clang. */
import { execFileSync } from "node:child_process";
import { mkdirSync, readdirSync, renameSync, statSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { findClang } from "bpf-linker";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const sources = join(root, "native");
const outputs = join(root, "dist", "native");
const flags = ["-shared", "-fPIC", "-O2", "-nostdlib", "-Wall", "-Wextra", "-Werror"];

const changed = (path) => statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? 0;

mkdirSync(outputs, { recursive: true });
const headers = readdirSync(sources).filter((file) => file.endsWith(".h"));
const newestHeader = Math.max(...headers.map((name) => changed(join(sources, name))));
for (const name of readdirSync(sources).filter((file) => file.endsWith(".c"))) {
  const source = join(sources, name);
  const output = join(outputs, name.replace(/c$/, "so"));
  if (changed(output) >= Math.max(changed(source), newestHeader)) continue;
  const { path } = await findClang();
  // By another name first: a process may have the old one mapped.
  const fresh = `${output}.${process.pid}`;
  execFileSync(path, [...flags, "-o", fresh, source], { stdio: ["ignore", "inherit", "inherit"] });
  renameSync(fresh, output);
}
