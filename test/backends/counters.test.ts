import { loadClassifier } from "../../src/backends/classifier.js";
import { addCounters, readCounters } from "../../src/backends/counters.js";
import { packetTo } from "../../src/bench/kernel-gateway.js";
import { compile } from "../../src/compiler/compile.js";
import { parsePolicy } from "../../src/config/index.js";
import { connectionOf } from "../../src/config/target.js";
import { bpfObjectPath } from "../../src/sys/paths.js";
import { rootTest } from "../support/root-test.js";

const DESTINATION = 0x0a010001;
const DEVICES = { ifindexOf: () => 1, ifindexesOfGroup: () => [] };

/** Of a packet from its IP header on: what is counted. */
const PACKET_BYTES = packetTo(DESTINATION).length - 14;

/** Counters of a generation whose only rule leads to `target`, after so many packets. */
function counted(target: string, packets: number) {
  const text = `version: 1
connections:
  a: {if_id: 1}
  b: {if_id: 2}
rules: [{name: moved, match: {dst: 10.1.0.1}, to: ${target}}]`;
  const { policy } = parsePolicy(text, "steer.yaml");
  if (policy === null) throw new Error("the policy is not valid");
  const generation = compile(policy, DEVICES);
  using object = loadClassifier(bpfObjectPath("steer_test"), generation, { l3Offset: 14 });
  object.program("run_decide").testRun({ data: packetTo(DESTINATION), repeat: packets });
  const leads = policy.rules.map(({ to }) => connectionOf(to));
  return readCounters(generation, leads, object.map("tx_counters"), object.map("rx_counters"));
}

/** What so many packets count as. */
const traffic = (packets: number) => ({ packets, bytes: packets * PACKET_BYTES });

rootTest("what a rule steered stays with its connection when the next generation leads it elsewhere", (t) => {
  const counters = addCounters(counted("a", 3), counted("b", 2));
  t.deepEqual(Object.fromEntries(counters.sent), { a: traffic(3), b: traffic(2) });
  t.deepEqual(Object.fromEntries(counters.rules), { moved: traffic(5) });
});

rootTest("a group's packets count with the member that they went to, and with their rule", (t) => {
  const { sent, rules } = counted("{group: [a, b]}", 4);
  t.deepEqual(Object.fromEntries(rules), { moved: traffic(4) });
  const members = [sent.get("a"), sent.get("b")].sort((a, b) => (a?.packets ?? 0) - (b?.packets ?? 0));
  t.deepEqual(members, [traffic(0), traffic(4)], "one flow goes to one member");
});
