/** What `explain` tells about a packet is what the BPF program does with it. */
import fc from "fast-check";
import { loadClassifier } from "../../src/backends/classifier.js";
import { add, NO_TRAFFIC, readCounters, type Traffic } from "../../src/backends/counters.js";
import { compile, type Generation } from "../../src/compiler/compile.js";
import { CompileError } from "../../src/compiler/error.js";
import { explain } from "../../src/compiler/explain.js";
import { parsePacket } from "../../src/compiler/packet.js";
import { VERDICT } from "../../src/compiler/targets.js";
import type { Policy } from "../../src/config/policy.js";
import { connectionOf } from "../../src/config/target.js";
import { bpfObjectPath } from "../../src/sys/paths.js";
import { decided, ETHERNET, runPacket } from "../support/bpf-decide.js";
import { Random } from "../support/random.js";
import { randomPacket } from "../support/random-packet.js";
import { randomPolicy } from "../support/random-policy.js";
import { rootTest } from "../support/root-test.js";

const PACKETS_A_POLICY = 60;
const LOOPBACK = 1;
const OTHER = 4711;
const DEVICES = {
  ifindexOf: (name: string) => (name === "lo" ? LOOPBACK : OTHER),
  ifindexesOfGroup: (group: string) => (group === "0" ? [LOOPBACK] : []),
};

/** Null for rules with more combinations than are compiled. */
function compiled(policy: Policy): Generation | null {
  try {
    return compile(policy, DEVICES);
  } catch (error) {
    if (error instanceof CompileError) return null;
    throw error;
  }
}

rootTest("explain names the rule that counts the packet, and where the program sends it", (t) => {
  let byRule = 0;
  fc.assert(
    fc.property(fc.nat(2 ** 31), (seed) => {
      const random = new Random(seed);
      const policy = randomPolicy(random, random.pick([1, 4, 20]), 6);
      const generation = compiled(policy);
      if (generation === null) return;
      using object = loadClassifier(bpfObjectPath("steer_test"), generation, { l3Offset: ETHERNET });
      const told = new Map<string, Traffic>();
      for (let i = 0; i < PACKETS_A_POLICY; i++) {
        const packet = randomPacket(random, policy);
        const isIn = random.chance(2);
        const mark = random.below(6);
        const { decision, connection, rule } = explain(
          policy,
          parsePacket(packet, { mark, iif: isIn ? "lo" : null, iifGroup: isIn ? "group:0" : null }),
        );
        const { verdict } = runPacket(object, "run_decide", packet, { mark, ifindex: isIn ? LOOPBACK : 0 });
        t.is(verdict, VERDICT[decision.action.kind]);
        t.deepEqual(decided(object), {
          ifId: connection?.ifId ?? 0,
          link: connection?.link ? DEVICES.ifindexOf(connection.link) : 0,
        });
        if (rule !== null)
          told.set(rule, add(told.get(rule) ?? NO_TRAFFIC, { packets: 1, bytes: packet.length }));
      }
      const leads = policy.rules.map(({ to }) => connectionOf(to));
      const counters = readCounters(generation, leads, object.map("tx_counters"), object.map("rx_counters"));
      for (const [name, counted] of counters.rules) t.deepEqual(counted, told.get(name) ?? NO_TRAFFIC, name);
      byRule += told.size;
    }),
    { numRuns: 60 },
  );
  t.true(byRule > 50, `${byRule} rules decided`);
});
