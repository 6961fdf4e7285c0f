// Constants before load, variables of the running program after it: no system call for either.
import { compile } from "bpf-linker";
import { BpfObject } from "libbpf-ts";

const source = new URL("programs.bpf.c", import.meta.url).pathname;
const { object } = await compile(source, { output: "programs.bpf.o" });
const bpf = BpfObject.open(object);
bpf.rodata.set("step", 5);
bpf.load();
bpf.bss.set("total", 100n);
bpf.program("add").testRun({ data: new Uint8Array(64), repeat: 3 });
console.log(bpf.bss.get("total")); // 115n
bpf.close();
