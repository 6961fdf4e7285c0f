// Typed maps without a generated module: codecs come from the object's BTF when it is opened.
import { readFileSync } from "node:fs";
import { compile } from "bpf-linker";
import { BpfMap, BpfObject, Btf, codec, MappedArray, MapType, objectModel, typedMap, u64 } from "libbpf-ts";

const source = new URL("programs.bpf.c", import.meta.url).pathname;
const { object } = await compile(source, { output: "programs.bpf.o" });
const bpf = BpfObject.open(object).load();
const { maps } = objectModel(Btf.parse(readFileSync(object)));
const open = (name) => typedMap(bpf.map(name), maps[name]);

// Longest prefix match; __be32 is a number in host order here.
const routes = open("routes");
routes.updateBatch([
  [{ prefixlen: 8, address: 0x0a000000 }, 1],
  [{ prefixlen: 16, address: 0x0a010000 }, 2],
]);
console.log(routes.lookup({ prefixlen: 32, address: 0x0a010203 })); // 2
console.log([...routes].length); // 2

// One value a CPU.
bpf.program("add").testRun({ data: new Uint8Array(64), repeat: 10 });
const runs = open("runs").lookup(0);
console.log(runs.reduce((sum, count) => sum + count, 0n)); // 10n

// An array in shared memory.
const shared = new MappedArray(bpf.map("shared"), codec(u64));
console.log(shared.get(0)); // 20n

// A map of maps.
const tenants = open("tenants");
const inner = BpfMap.create({
  name: "inner",
  type: MapType.hash,
  keySize: 4,
  valueSize: 4,
  maxEntries: 16,
  flags: 0,
});
tenants.wrap(inner).update(80, 8080);
tenants.update(7, inner);
console.log(tenants.lookup(7).lookup(80)); // 8080
inner.close();
bpf.close();
