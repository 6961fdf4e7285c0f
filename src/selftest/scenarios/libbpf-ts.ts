import { BpfObject, features, MissingFeatureError, VerifierError } from "libbpf-ts";
import { bpfObjectPath } from "../../sys/paths.js";
import { scenario } from "../scenario.js";

const KFUNC = "bpf_skb_set_xfrm_info";
const MODULE = "xfrm_interface";
/** A dropped packet's verdict (linux/pkt_cls.h). */
const TC_ACT_SHOT = 2;

const moduleKfunc = scenario({
  name: "libbpf-ts-kfunc-of-a-module",
  topology: `
    one: any0 (xfrm), which loads the module
  `,
  needs: ["bpf-kfunc", "own-kernel"],
  async run(t) {
    const ns = t.ns("one");
    await t.step("without the module, the probe and the error say so", async () => {
      const unload = async () => (await ns.exec("rmmod", MODULE)).status === 0;
      // The kernel frees what used it a little after the last reference is gone.
      await t.eventually("unloaded", unload, true);
      t.expect("probe", features.kfunc(KFUNC, { module: MODULE }), false);
      using object = BpfObject.open(bpfObjectPath("steer_xfrm"));
      const error = thrown(() => object.load());
      t.expect("type", error instanceof MissingFeatureError, true);
      t.expect("named", /bpf_skb_[gs]et_xfrm_info/.test((error as MissingFeatureError).feature), true);
    });
    await t.step("with it, the function is found by name and module", async () => {
      await ns.ip("link add any0 type xfrm if_id 1");
      t.expect("in its module", features.kfunc(KFUNC, { module: MODULE }), true);
      t.expect("no such function", features.kfunc(`${KFUNC}_`, { module: MODULE }), false);
      t.expect("no such module", features.kfunc(KFUNC, { module: `${MODULE}_` }), false);
    });
    await t.step("a program that calls it loads and runs", async () => {
      using object = BpfObject.open(bpfObjectPath("steer_xfrm"));
      const { retval } = object
        .load()
        .program("xfrm_egress")
        .testRun({ data: new Uint8Array(64) });
      t.expect("verdict without rules", retval, TC_ACT_SHOT);
    });
  },
});

const verifierLine = scenario({
  name: "libbpf-ts-verifier-error-names-the-c-line",
  topology: `
    no namespace: the program is refused before anything is attached
  `,
  async run(t) {
    using object = BpfObject.open(bpfObjectPath("steer_tun"));
    // As if the table had 2^32 entries: beyond its one value.
    object.rodata.set("flow_table4", Uint32Array.of(2 ** 31, 2 ** 31, 0));
    const error = thrown(() => object.load());
    t.expect("type", error instanceof VerifierError, true);
    const { source, message } = error as VerifierError;
    t.note(message);
    t.expect(
      "a header and a line of it",
      [/\.h$/.test(source?.file ?? ""), (source?.line ?? 0) > 0],
      [true, true],
    );
    t.expect("the access in C", source?.text.includes("pilots["), true);
    t.expect("in the message", message.includes(`${source?.file}:${source?.line}`), true);
  },
});

export const libbpfTs = [moduleKfunc, verifierLine];

function thrown(action: () => void): unknown {
  try {
    action();
  } catch (error) {
    return error;
  }
  return undefined;
}
