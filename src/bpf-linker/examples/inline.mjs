// One decision in a file of its own: linked as a function by libbpf, inlined by LLVM. Prints what each costs.
import { writeFileSync } from "node:fs";
import { compile, link, linkLlvm, reportObject } from "bpf-linker";

const head = "#include <linux/bpf.h>\n#include <bpf/bpf_helpers.h>\n";
writeFileSync("limit.bpf.c", `${head}int is_long(__u32 bytes) { return bytes > 1400; }\n`);
writeFileSync(
  "drop.bpf.c",
  `${head}extern int is_long(__u32 bytes);
SEC("tc") int drop_long(struct __sk_buff *skb) { return is_long(skb->len) ? 2 : 0; }
char _license[] SEC("license") = "GPL";
`,
);
const sources = ["drop", "limit"].map((name) => `${name}.bpf.c`);
const parts = await Promise.all(
  sources.map((source) => compile(source, { output: source.replace(/c$/, "o") })),
);
const byLibbpf = link(
  parts.map((part) => part.object),
  "libbpf.o",
);
const byLlvm = await linkLlvm(sources, { output: "llvm.o" });
for (const path of [byLibbpf, byLlvm.object]) {
  const { codeBytes, btfBytes, programs } = reportObject(path);
  console.log({ codeBytes, btfBytes, programs });
}
