import { existsSync } from "node:fs";
import test from "ava";
import { BpfError, features, MissingBtfError, UnknownNameError } from "libbpf-ts";
import { kernelTest, lacking } from "./support/bpf-test.js";
import { runModule } from "./support/child.js";

kernelTest("types and helpers that every kernel has are found, and those that none has are not", (t) => {
  t.true(features.programType("sched_cls"));
  t.true(features.programType(6));
  t.true(features.mapType("hash"));
  t.true(features.helper("bpf_map_lookup_elem"));
  t.true(features.helper("skb_store_bytes", "sched_cls"));
  t.false(features.helper("skb_store_bytes", "xdp"), "not for XDP programs");
  t.throws(() => features.mapType(250), { instanceOf: BpfError, message: /EOPNOTSUPP/ }, "unknown to libbpf");
});

kernelTest("a name that does not exist is answered with those that do", (t) => {
  t.throws(() => features.programType("tc"), { instanceOf: UnknownNameError, message: /sched_cls/ });
  t.throws(() => features.mapType("btree"), { instanceOf: UnknownNameError, message: /lpm_trie/ });
  t.throws(() => features.helper("bpf_nope"), { instanceOf: UnknownNameError, message: /map_lookup_elem/ });
});

kernelTest(
  "kfuncs: one that tc programs may call, one that they may not, and none",
  (t) => {
    t.true(features.kfunc("bpf_dynptr_from_skb"));
    t.false(features.kfunc("bpf_dynptr_from_xdp"));
    t.true(features.kfunc("bpf_dynptr_from_xdp", { program: "xdp" }));
    t.false(features.kfunc("tcp_v4_rcv"), "a function of the kernel that is no kfunc");
    t.false(features.kfunc("bpf_no_such_kfunc"));
    t.false(features.kfunc("bpf_no_such_kfunc", { module: "no_such_module" }));
  },
  "6.4",
);

kernelTest("tcx, BTF and the memlock limit fit the kernel's release", (t) => {
  t.is(features.tcx(), lacking({ kernel: "6.6" }) === undefined);
  t.is(features.memlockLimit(), lacking({ kernel: "5.11" }) !== undefined);
  t.is(features.kernelBtf(), existsSync("/sys/kernel/btf/vmlinux"));
});

kernelTest("an answer that could not be found out is an error, and is not kept", (t) => {
  const output = runModule(`
    import { features, MissingRightsError } from "libbpf-ts";
    process.seteuid(65534);
    for (const probe of [() => features.tcx(), () => features.helper("bpf_redirect")]) {
      try { console.log(probe()); } catch (error) { console.log(error.code); }
    }
    process.seteuid(0);
    console.log(features.tcx(), features.helper("bpf_redirect"));
  `);
  const [tcx, helper, later] = output.split("\n");
  t.is(tcx, "EPERM");
  t.is(helper, "EPERM");
  t.is(later, `${lacking({ kernel: "6.6" }) === undefined} true`);
});

test("the error for a kernel without BTF says which option gives it", (t) => {
  t.regex(new MissingBtfError("load", "").message, /CONFIG_DEBUG_INFO_BTF/);
});
