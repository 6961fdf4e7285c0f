// All types of the running kernel for C, and a program that reads one of them wherever it stands in this kernel.
import { writeFileSync } from "node:fs";
import { compile, vmlinuxHeader } from "bpf-linker";
import { BpfObject } from "libbpf-ts";

await vmlinuxHeader({ output: "include/vmlinux.h" });
writeFileSync(
  "task.bpf.c",
  `#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
int pid;
SEC("raw_tp/sys_enter") int task(void *ctx) {
  struct task_struct *current = (void *)bpf_get_current_task();
  pid = BPF_CORE_READ(current, tgid);
  return 0;
}
char _license[] SEC("license") = "GPL";
`,
);
const { object } = await compile("task.bpf.c", { output: "task.bpf.o", includes: ["include"] });
const bpf = BpfObject.open(object).load();
bpf.program("task").testRun({});
console.log(bpf.bss.get("pid") === process.pid);
bpf.close();
