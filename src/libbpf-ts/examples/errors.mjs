// What the verifier's refusal looks like.
import { writeFileSync } from "node:fs";
import { compile } from "bpf-linker";
import { BpfObject, VerifierError } from "libbpf-ts";

writeFileSync(
  "refused.bpf.c",
  `#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
SEC("tc") int refused(struct __sk_buff *skb) { return *(int *)(long)skb->data; }
char _license[] SEC("license") = "GPL";
`,
);
const { object } = await compile("refused.bpf.c", { output: "refused.bpf.o" });
const bpf = BpfObject.open(object);
try {
  bpf.load();
} catch (error) {
  if (!(error instanceof VerifierError)) throw error;
  console.log(error.message); // the telling lines, and what to do
  console.log(error.source); // the C line
  console.log(error.log.length > 0); // the whole log
}
bpf.close();
