import type { BpfObject } from "libbpf-ts";
import { loadClassifier } from "../../src/backends/classifier.js";
import { add, NO_TRAFFIC, readCounters, type Traffic } from "../../src/backends/counters.js";
import { compile, type Generation } from "../../src/compiler/compile.js";
import { CompileError } from "../../src/compiler/error.js";
import { type Malformed, type PacketKey, parsePacket } from "../../src/compiler/packet.js";
import { admitted, type Decision, decide } from "../../src/compiler/reference.js";
import { VERDICT } from "../../src/compiler/targets.js";
import { parsePolicy } from "../../src/config/index.js";
import type { Policy } from "../../src/config/policy.js";
import { connectionOf } from "../../src/config/target.js";
import { bpfObjectPath } from "../../src/sys/paths.js";
import { decided, ETHERNET, runPacket } from "../support/bpf-decide.js";
import { Random } from "../support/random.js";
import { randomPacket } from "../support/random-packet.js";
import { randomPolicy } from "../support/random-policy.js";
import { rootTest } from "../support/root-test.js";

/** XFRM_STEER_FUZZ_SEED and XFRM_STEER_FUZZ_PACKETS replay or lengthen a run. */
const SEED = Number(process.env.XFRM_STEER_FUZZ_SEED ?? Date.now() % 2 ** 32);
const PACKETS = Number(process.env.XFRM_STEER_FUZZ_PACKETS ?? 54_000);
const PACKETS_A_POLICY = 1500;
const LOOPBACK = 1;
const OTHER = 4711;
const DEVICES = {
  ifindexOf: (name: string) => (name === "lo" ? LOOPBACK : OTHER),
  ifindexesOfGroup: (group: string) => (group === "0" ? [LOOPBACK] : []),
};

interface Metadata {
  readonly mark: number;
  readonly iif: "lo" | null;
  readonly iifGroup: "group:0" | null;
  readonly ifId?: number;
}

/** What the reference says, in the words of the BPF program. */
function expected(policy: Policy, { action }: Decision) {
  if (action.kind !== "connection") return { verdict: VERDICT[action.kind], ifId: 0, link: 0 };
  const connection = policy.connections[action.connection];
  return {
    verdict: VERDICT.connection,
    ifId: connection?.ifId,
    link: action.link === null ? 0 : DEVICES.ifindexOf(action.link),
  };
}

/** The packet and its mark as the deciding rule leaves them. */
function changed(policy: Policy, decision: Decision, packet: Uint8Array, mark: number) {
  const after = Buffer.from(packet);
  const set = decision.by === "rule" ? policy.rules[decision.rule]?.set : undefined;
  const { value, mask } = set?.mark ?? { value: 0, mask: 0 };
  if (set?.dscp !== null && set?.dscp !== undefined) {
    const view = new DataView(after.buffer, after.byteOffset);
    const before = view.getUint16(0);
    if (before >>> 12 === 4) {
      view.setUint16(0, (before & 0xff03) | (set.dscp << 2));
      // RFC 1624 equation 3
      let sum = (~view.getUint16(10) & 0xffff) + (~before & 0xffff) + view.getUint16(0);
      while (sum >>> 16) sum = (sum & 0xffff) + (sum >>> 16);
      view.setUint16(10, ~sum & 0xffff);
    } else {
      view.setUint16(0, (before & 0xf03f) | (set.dscp << 6));
    }
  }
  return { mark: ((mark & ~mask) | (value & mask)) >>> 0, packet: after };
}

function run(object: BpfObject, program: "run_decide" | "run_admit", packet: Uint8Array, beside: Metadata) {
  return runPacket(object, program, packet, { ...beside, ifindex: beside.iif === "lo" ? LOOPBACK : 0 });
}

function forEachPolicy(
  visit: (
    policy: Policy,
    generation: Generation,
    object: BpfObject,
    random: Random,
    held: ReadonlySet<number>,
  ) => void,
) {
  const random = new Random(SEED);
  for (let i = 0; i * PACKETS_A_POLICY < PACKETS; i++) {
    const drawn = randomPolicy(random, random.pick([0, 3, 30, 300]), random.pick([1, 4, 40]));
    // Every third policy has held connections, some all of them.
    const share = random.pick([1, 2, 4]);
    const held = new Set(
      i % 3 === 0 ? drawn.connections.flatMap(({ ifId }) => (random.chance(share) ? [ifId] : [])) : [],
    );
    const { policy, generation } = compiled(drawn, held);
    const object = loadClassifier(bpfObjectPath("steer_test"), generation, { l3Offset: ETHERNET });
    try {
      visit(policy, generation, object, random, held);
    } finally {
      object.close();
    }
  }
}

/**
 * Leaves out the rules that the compiler refuses by name: lists and negations with more combinations than are
 * compiled, and rules that overlap too many others.
 */
function compiled(policy: Policy, held: ReadonlySet<number>): { policy: Policy; generation: Generation } {
  try {
    return { policy, generation: compile(policy, DEVICES, undefined, held) };
  } catch (error) {
    if (!(error instanceof CompileError) || error.rules.length === 0) throw error;
    const refused = new Set(error.rules);
    if (refused.size > policy.rules.length / 3) throw error;
    return compiled({ ...policy, rules: policy.rules.filter(({ name }) => !refused.has(name)) }, held);
  }
}

function count<Key>(counters: Map<Key, Traffic>, key: Key, packet: Uint8Array): void {
  counters.set(key, add(counters.get(key) ?? NO_TRAFFIC, { packets: 1, bytes: packet.length }));
}

const metadata = (random: Random): Metadata => ({
  mark: random.below(6),
  ...(random.chance(2) ? { iif: "lo", iifGroup: "group:0" } : { iif: null, iifGroup: null }),
});

rootTest("the BPF program decides about random packets as the linear reference does", (t) => {
  t.log(`seed ${SEED}, ${PACKETS} packets`);
  const seen = { flow: 0, rule: 0, subnet: 0, default: 0, malformed: 0, held: 0 };
  forEachPolicy((policy, generation, object, random, held) => {
    const byRule = new Map<string, Traffic>();
    const byIfId = new Map<number, Traffic>();
    const reasons = { default: 0, malformed: 0, held: 0 };
    for (let i = 0; i < PACKETS_A_POLICY; i++) {
      const packet = randomPacket(random, policy);
      const beside = metadata(random);
      const key = parsePacket(packet, beside);
      const decision = decide(policy, key, held);
      const got = { ...run(object, "run_decide", packet, beside), ...decided(object) };
      const wanted = {
        ...expected(policy, decision),
        ...changed(policy, decision, packet, beside.mark),
      };
      if (
        got.verdict !== wanted.verdict ||
        got.ifId !== wanted.ifId ||
        got.link !== wanted.link ||
        got.mark !== wanted.mark ||
        !got.packet.equals(wanted.packet)
      )
        return t.fail(difference(SEED, packet, beside, key, { got, wanted, decision }));
      seen[decision.by]++;
      if (decision.action.kind === "drop" && decision.action.held !== undefined) {
        seen.held++;
        reasons.held++;
        continue;
      }
      if (got.verdict === VERDICT.connection) count(byIfId, got.ifId, packet);
      if (decision.by === "rule") {
        const name = policy.rules[decision.rule]?.name ?? "";
        count(byRule, name, packet);
      } else if (decision.by === "default" || decision.by === "malformed") reasons[decision.by]++;
    }
    // The counters tell the rule itself, also where two rules lead to one connection.
    const leads = policy.rules.map(({ to }) => connectionOf(to));
    const counters = readCounters(generation, leads, object.map("tx_counters"), object.map("rx_counters"));
    for (const [name, counted] of counters.rules)
      t.deepEqual(counted, byRule.get(name) ?? NO_TRAFFIC, `rule ${name}, seed ${SEED}`);
    for (const { name, ifId } of policy.connections)
      t.deepEqual(
        counters.sent.get(name),
        byIfId.get(ifId) ?? NO_TRAFFIC,
        `connection ${name}, seed ${SEED}`,
      );
    t.is(counters.default.packets, reasons.default);
    t.is(counters.malformed.packets, reasons.malformed);
    t.is(counters.held.packets, reasons.held, `held, seed ${SEED}`);
  });
  t.log(seen);
  for (const [by, count] of Object.entries(seen))
    if (by !== "flow") t.true(count > PACKETS / 1000, `${by} decided ${count} times only`);
});

rootTest("the BPF program admits sources as the linear reference does, and sets the mark", (t) => {
  t.log(`seed ${SEED}, ${PACKETS} packets`);
  const seen = { admitted: 0, refused: 0, held: 0 };
  forEachPolicy((policy, generation, object, random, held) => {
    let dropped = 0;
    const received = new Map<string, Traffic>();
    const badSource = new Map<string, Traffic>();
    for (let i = 0; i < PACKETS_A_POLICY; i++) {
      const packet = randomPacket(random, policy);
      const index = random.below(policy.connections.length);
      const connection = policy.connections[index];
      const known = !random.chance(20);
      const ifId = known ? (connection?.ifId ?? 0) : random.word();
      const beside = { ...metadata(random), ifId };
      const key = parsePacket(packet, beside);
      const admit = known && !("malformed" in key) && admitted(policy, index, key, held);
      const got = run(object, "run_admit", packet, beside);
      const { value, mask } = connection?.rxMark ?? { value: 0, mask: 0 };
      const mark = admit ? ((beside.mark & ~mask) | (value & mask)) >>> 0 : beside.mark;
      const wanted = { verdict: admit ? VERDICT.pass : VERDICT.drop, mark };
      if (got.verdict !== wanted.verdict || got.mark !== wanted.mark)
        return t.fail(difference(SEED, packet, beside, key, { got, wanted, connection: connection?.name }));
      if (held.has(ifId)) {
        seen.held++;
        dropped++;
        continue;
      }
      seen[admit ? "admitted" : "refused"]++;
      if (known && connection && !("malformed" in key))
        count(admit ? received : badSource, connection.name, packet);
    }
    const counters = readCounters(generation, [], object.map("tx_counters"), object.map("rx_counters"));
    t.is(counters.held.packets, dropped, `held, seed ${SEED}`);
    for (const { name } of policy.connections) {
      t.deepEqual(counters.received.get(name), received.get(name) ?? NO_TRAFFIC, `${name}, seed ${SEED}`);
      t.deepEqual(counters.badSource.get(name), badSource.get(name) ?? NO_TRAFFIC, `${name}, seed ${SEED}`);
    }
  });
  t.log(seen);
  t.true(seen.admitted > PACKETS / 100 && seen.refused > PACKETS / 100 && seen.held > PACKETS / 100);
});

function difference(
  seed: number,
  packet: Uint8Array,
  beside: Metadata,
  key: PacketKey | Malformed,
  more: object,
) {
  return `seed ${seed}: ${JSON.stringify({ packet: Buffer.from(packet).toString("hex"), beside, key, ...more }, null, 1)}`;
}

rootTest("thousands of rules that no field tells apart load, and the first of them decides", (t) => {
  const { policy } = parsePolicy(
    "version: 1\nconnections: {a: {if_id: 1}}\n" +
      "rules: [{match: {proto: udp, sport: 0-65535, length: 30-65535}, to: a}]\n",
    "same",
  );
  const rule = policy?.rules[0];
  if (!policy || !rule) return t.fail();
  const rules = Array.from({ length: 6000 }, (_, i) => ({
    ...rule,
    ...{ name: `same-${i}`, set: { mark: { value: i + 1, mask: 0xffff }, dscp: null } },
  }));
  const generation = compile({ ...policy, rules }, DEVICES);
  const object = loadClassifier(bpfObjectPath("steer_test"), generation, { l3Offset: ETHERNET });
  t.teardown(() => object.close());
  const udp = (length: number) => {
    const packet = new Uint8Array(length);
    packet[0] = 0x45;
    packet[9] = 17;
    return packet;
  };
  const none = { mark: 0, iif: null, iifGroup: null };
  t.like(run(object, "run_decide", udp(40), none), { verdict: VERDICT.connection, mark: 1 });
  t.like(run(object, "run_decide", udp(28), none), { verdict: VERDICT.drop, mark: 0 });
});
