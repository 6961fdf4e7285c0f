#!/usr/bin/env node
/** Compiles and links the BPF objects into dist/bpf. Unchanged sources come from bpf-linker's cache. */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { compile, link } from "bpf-linker";
import { generateModule } from "libbpf-ts";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const out = join(root, "dist", "bpf");
/** TypeScript modules with the linked objects' types; they are checked in, so that TypeScript compiles before C. */
const modules = join(root, "src", "bpf");
mkdirSync(out, { recursive: true });
mkdirSync(modules, { recursive: true });

/** Linked objects, each from a deciding and a carrying half. */
const objects = {
  "steer_tun.bpf.o": ["classifier", "tun_egress", "tun_ingress"],
  "steer_test.bpf.o": ["classifier", "test_run"],
};

const parts = new Map();
for (const name of new Set(Object.values(objects).flat())) {
  const { object } = await compile(join(root, "bpf", `${name}.bpf.c`), {
    output: join(out, `${name}.bpf.o`),
  });
  parts.set(name, object);
}
for (const [name, halves] of Object.entries(objects)) {
  const object = link(
    halves.map((half) => parts.get(half)),
    join(out, name),
  );
  const path = join(modules, name.replace(/\.o$/, ".ts"));
  const module = generateModule(object);
  if (!existsSync(path) || readFileSync(path, "utf8") !== module) writeFileSync(path, module);
}
