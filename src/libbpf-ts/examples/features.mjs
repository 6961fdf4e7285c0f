// What this kernel can do.
import { features } from "libbpf-ts";

console.log("program type lwt_xmit:", features.programType("lwt_xmit"));
console.log("map type ringbuf:", features.mapType("ringbuf"));
console.log("helper bpf_skb_change_head in tc:", features.helper("bpf_skb_change_head", "sched_cls"));
console.log("tcx:", features.tcx());
if (features.kernelBtf()) console.log("kfunc bpf_dynptr_from_skb:", features.kfunc("bpf_dynptr_from_skb"));
