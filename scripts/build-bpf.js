#!/usr/bin/env node
/** Compiles and links the BPF objects into dist/bpf. Unchanged sources come from bpf-linker's cache. */
import { mkdirSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { compile, link } from "bpf-linker";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const out = join(root, "dist", "bpf");
mkdirSync(out, { recursive: true });

/** Linked objects, each from a deciding and a carrying half. */
const objects = {
  "steer_xfrm.bpf.o": ["classifier", "xfrm_egress", "xfrm_ingress"],
  "steer_tun.bpf.o": ["classifier", "tun_egress", "tun_ingress"],
  "steer_test.bpf.o": ["classifier", "test_run"],
  "bench_classify.bpf.o": ["bench_classify"],
};

const parts = new Map();
for (const name of new Set(Object.values(objects).flat())) {
  const { object } = await compile(join(root, "bpf", `${name}.bpf.c`), {
    output: join(out, `${name}.bpf.o`),
  });
  parts.set(name, object);
}
for (const [name, halves] of Object.entries(objects))
  if (halves.length > 1)
    link(
      halves.map((half) => parts.get(half)),
      join(out, name),
    );
