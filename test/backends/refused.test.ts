import { loadRules } from "../../src/backends/classifier.js";
import { readRefused } from "../../src/backends/userspace/refused.js";
import { compile } from "../../src/compiler/compile.js";
import { parsePolicy } from "../../src/config/index.js";
import { SHIM_TAG, tagOf } from "../../src/esp/framing.js";
import { frame, ipv4, ipv6 } from "../esp/frames.js";
import { serialRootTest } from "../support/root-test.js";

/** linux/pkt_cls.h */
const TC_ACT_SHOT = 2;
const EPOCH = 0xabcdef;

serialRootTest(
  "the receiving program takes no frame without a shim or of another epoch, and counts which",
  (t) => {
    const { policy } = parsePolicy(
      "version: 1\nconnections: {a: {if_id: 101, subnets: [0.0.0.0/0]}}\n",
      "refused",
    );
    if (policy === null) throw new Error("the test's policy is wrong");
    const object = loadRules("tun", compile(policy, { ifindexOf: () => 1, ifindexesOfGroup: () => [] }), {
      epoch: EPOCH,
    });
    t.teardown(() => object.close());
    const packetOf = (tag: number) => frame(ipv4(100), { tag }).subarray(SHIM_TAG);
    const refused = () => readRefused(object.map("xfrm_steer_refused"), null);
    const run = (data: Buffer) => object.program("tun_ingress").testRun({ data }).retval;
    for (const bare of [ipv4(100), ipv6(100), Buffer.alloc(100), packetOf(0)]) t.is(run(bare), TC_ACT_SHOT);
    t.deepEqual(refused(), { rxNoShim: 4, rxOtherEpoch: 0 });
    for (const epoch of [EPOCH - 1, EPOCH + 1, 0]) t.is(run(packetOf(tagOf(epoch))), TC_ACT_SHOT);
    t.deepEqual(refused(), { rxNoShim: 4, rxOtherEpoch: 3 });
    // It has gone through that far: what testRun puts in place of the link layer is no IP packet of a TUN device's.
    run(packetOf(tagOf(EPOCH)));
    t.deepEqual(refused(), { rxNoShim: 4, rxOtherEpoch: 3 });
    t.deepEqual(readRefused(object.map("xfrm_steer_refused"), { rxNoShim: 1, rxOtherEpoch: 2 }), {
      rxNoShim: 5,
      rxOtherEpoch: 5,
    });
  },
);
