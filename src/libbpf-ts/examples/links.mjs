// Attach, replace in one step, pin, and take over in another process. Usage: node links.mjs IFINDEX PIN
import { compile } from "bpf-linker";
import { attachTcx, attachXdp, BpfLink, BpfObject, features } from "libbpf-ts";

const ifindex = Number(process.argv[2]);
const pin = process.argv[3];
const source = new URL("programs.bpf.c", import.meta.url).pathname;
const { object } = await compile(source, { output: "programs.bpf.o" });
const bpf = BpfObject.open(object).load();

const xdp = attachXdp({ ifindex, program: bpf.program("pass"), mode: "generic" });
xdp.pin(pin); // outlives this process; a later one does:
const again = BpfLink.openPinned(pin);
again.update(bpf.program("pass"));
again.detach();
xdp.close();
again.close();

if (features.tcx()) {
  const second = attachTcx({ ifindex, direction: "egress", program: bpf.program("add") });
  const other = BpfObject.open(object).load();
  const first = attachTcx({
    ifindex,
    direction: "egress",
    program: other.program("add"),
    order: { before: second },
  });
  first.close();
  second.close();
  other.close();
}
bpf.close();
console.log("done");
