import { readFileSync } from "node:fs";
import test from "ava";
import { Btf } from "libbpf-ts";
import { EntrySize } from "../../src/compiler/table.js";
import { bpfObjectPath } from "../../src/sys/paths.js";

test("every table has entries of the size that the program's section declares one of", (t) => {
  const btf = Btf.parse(readFileSync(bpfObjectPath("classifier")));
  const declared = Object.keys(EntrySize).map((name) => [name, btf.datasec(`.rodata.${name}`).size]);
  t.deepEqual(Object.fromEntries(declared), { ...EntrySize });
});
