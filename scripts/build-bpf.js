#!/usr/bin/env node
/**
 * Compiles and links the BPF objects into dist/bpf, and writes the TypeScript modules of their types into src/bpf.
 * Unchanged sources come from bpf-linker's cache. Needs the packages built, and runs before the rest of TypeScript is.
 */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { compile, link, linkLlvm } from "bpf-linker";
import { Btf, generateModule } from "libbpf-ts";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const out = join(root, "dist", "bpf");
const modules = join(root, "src", "bpf");
mkdirSync(out, { recursive: true });
mkdirSync(modules, { recursive: true });

/** Linked objects, each from a deciding and a carrying half; `_subnets`: for policies that have nothing but subnets. */
const xfrm = ["classifier", "xfrm_egress", "xfrm_ingress"];
const tun = ["classifier", "tun_egress", "tun_ingress"];
const objects = {
  "steer_xfrm.bpf.o": { halves: xfrm },
  "steer_xfrm_subnets.bpf.o": { halves: xfrm, defines: { ONLY_SUBNETS: true } },
  "steer_tun.bpf.o": { halves: tun },
  "steer_tun_subnets.bpf.o": { halves: tun, defines: { ONLY_SUBNETS: true } },
  "steer_test.bpf.o": { halves: ["classifier", "test_run"] },
  "underlay.bpf.o": { halves: ["underlay_ingress"] },
};

const parts = new Map();
for (const name of new Set(Object.values(objects).flatMap(({ halves }) => halves))) {
  const { object } = await compile(join(root, "bpf", `${name}.bpf.c`), {
    output: join(out, `${name}.bpf.o`),
  });
  parts.set(name, object);
}
// What the linked object of a user's program is made of beside it, the example of one, and the bench's. The classifier's global names
// get a prefix there, so that any other name is the user's; its counters keep theirs, which status looks for.
const btf = Btf.parse(readFileSync(parts.get("classifier")));
const globals = btf
  .datasecs()
  .filter((section) => /^\.(maps|bss|rodata(\..*)?)$/.test(section))
  .flatMap((section) => btf.datasec(section).variables.map(({ name }) => name))
  .filter((name) => !name.endsWith("_counters"));
for (const [source, defines] of [
  ["bpf/rules_behind", Object.fromEntries(globals.map((name) => [name, `xs_${name}`]))],
  ["bpf/program", {}],
  ["bpf/esp_queues", {}],
  ["bpf/bench_kernel", {}],
  ["bpf/bench_classify", {}],
  ["bpf/bench_send", {}],
  ["bpf/bench_steer", {}],
  ["examples/custom-program/spread", {}],
])
  await compile(join(root, `${source}.bpf.c`), {
    output: join(out, `${basename(source)}.bpf.o`),
    includes: [join(root, "bpf")],
    defines,
  });
// The halves become one program: what decides is inlined into what carries it out. Global functions are verified once,
// each on its own, however often they are called.
for (const [name, { halves, defines = {} }] of Object.entries(objects)) {
  const { object } = await linkLlvm(
    halves.map((half) => join(root, "bpf", `${half}.bpf.c`)),
    { output: join(out, name), exports: ["match_tree4", "match_tree6", "xfrm_steer_parse"], defines },
  );
  link([object], join(out, name)); // leaves the debug information out
}
// The compiler needs the tables' layout only, and no libbpf.
for (const [name, module] of [
  ["classifier", generateModule(parts.get("classifier"))],
  ["underlay", generateModule(parts.get("underlay_ingress"))],
  ["tables", generateModule(parts.get("test_run"), { typesOnly: true })],
]) {
  const path = join(modules, `${name}.bpf.ts`);
  if (!existsSync(path) || readFileSync(path, "utf8") !== module) writeFileSync(path, module);
}
