import test from "ava";
import { loadClassifier } from "../../src/backends/classifier.js";
import { LiveFlows } from "../../src/backends/live-flows.js";
import { compile } from "../../src/compiler/compile.js";
import { Verdict } from "../../src/compiler/layout.js";
import { parsePolicy } from "../../src/config/index.js";
import { bpfObjectPath } from "../../src/sys/paths.js";
import { root } from "../support/root-test.js";

const rooted = root ? test : test.skip;
const DEVICES = { ifindexOf: () => 1, ifindexesOfGroup: () => [] };
const ETHERNET = 14;

function flow(sport: number) {
  return { family: 4, src: [0x0a000001], dst: [0x0a010001], proto: 17, sport, dport: 53 } as const;
}

/** The flow's packet behind an Ethernet header; the EtherType is a local experimental one. */
function packetOf({ src, dst, proto, sport, dport }: ReturnType<typeof flow>): Uint8Array {
  const data = new Uint8Array(ETHERNET + 28);
  const view = new DataView(data.buffer);
  view.setUint16(12, 0x88b5);
  view.setUint8(ETHERNET, 0x45);
  view.setUint8(ETHERNET + 9, proto);
  view.setUint32(ETHERNET + 12, src[0]);
  view.setUint32(ETHERNET + 16, dst[0]);
  view.setUint16(ETHERNET + 20, sport);
  view.setUint16(ETHERNET + 22, dport);
  return data;
}

rooted(
  `flows come and go in a running generation, and go before its rules${root ? "" : " (needs root)"}`,
  (t) => {
    const { policy } = parsePolicy(
      "version: 1\nconnections: {a: {if_id: 11}, b: {if_id: 22}}\nrules: [{match: {dst: 10.1.0.0/16}, to: a}]\n",
      "live.yaml",
    );
    if (policy === null) return t.fail();
    const object = loadClassifier(bpfObjectPath("steer_test"), compile(policy, DEVICES), {
      l3Offset: ETHERNET,
      liveFlows: 1024,
    });
    t.teardown(() => object.close());
    const live = new LiveFlows(object);
    const ifIdOf = (sport: number) => {
      const { retval } = object.program("run_decide").testRun({ data: packetOf(flow(sport)) });
      t.is(retval, Verdict.steer);
      return (object.bss.get("decided") as Buffer).readUInt32LE(0);
    };
    t.is(ifIdOf(1), 11);
    live.set([
      { ...flow(1), connection: 1 },
      { ...flow(2), connection: 1 },
    ]);
    t.deepEqual([1, 2, 3].map(ifIdOf), [22, 22, 11]);
    t.deepEqual(
      [...live.list()].sort((x, y) => x.sport - y.sport),
      [1, 2].map((sport) => ({ ...flow(sport), connection: 1 })),
    );
    t.true(live.delete(flow(1)));
    t.false(live.delete(flow(1)));
    t.deepEqual([1, 2].map(ifIdOf), [11, 22]);
  },
);

rooted(`a live flow can take out one of the generation's${root ? "" : " (needs root)"}`, (t) => {
  const { policy } = parsePolicy("version: 1\nconnections: {a: {if_id: 11}}\n", "live.yaml");
  if (policy === null) return t.fail();
  const [src, dst] = [Uint32Array.from(flow(5).src), Uint32Array.from(flow(5).dst)];
  const exact4 = {
    src,
    dst,
    proto: Uint8Array.of(17),
    ports: Uint32Array.of((5 << 16) | 53),
    connection: Uint32Array.of(0),
    file: new Uint8Array(1),
    line: Uint32Array.of(2),
  };
  const flows = { ...policy.flows, exact4 };
  const object = loadClassifier(bpfObjectPath("steer_test"), compile({ ...policy, flows }, DEVICES), {
    l3Offset: ETHERNET,
    liveFlows: 16,
  });
  t.teardown(() => object.close());
  const live = new LiveFlows(object);
  const verdict = () => object.program("run_decide").testRun({ data: packetOf(flow(5)) }).retval;
  t.is(verdict(), Verdict.steer);
  live.set([{ ...flow(5), connection: null }]);
  t.is(verdict(), Verdict.drop);
  live.delete(flow(5));
  t.is(verdict(), Verdict.steer);
});
