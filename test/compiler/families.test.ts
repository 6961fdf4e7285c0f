/** Each family of rule sets that the bench measures, in the kernel against the linear reference. */
import { loadClassifier } from "../../src/backends/classifier.js";
import { BENCH_DEVICES, benchPolicy, CASES, type Case, familyOf } from "../../src/bench/cases.js";
import { crossingKeys, type Keys, matchingKeys } from "../../src/bench/keys.js";

import { compile, type Generation } from "../../src/compiler/compile.js";
import { type PacketKey, parsePacket } from "../../src/compiler/packet.js";
import { decide } from "../../src/compiler/reference.js";
import { VERDICT } from "../../src/compiler/targets.js";
import type { Policy } from "../../src/config/policy.js";
import { bpfObjectPath } from "../../src/sys/paths.js";
import { decided, ETHERNET, runPacket } from "../support/bpf-decide.js";
import { rootTest } from "../support/root-test.js";
import { keyOf, matchRules } from "../support/walk.js";

/** XFRM_STEER_FUZZ_SEED and XFRM_STEER_FUZZ_PACKETS replay or lengthen a run: packets of all families together. */
const SEED = Number(process.env.XFRM_STEER_FUZZ_SEED ?? Date.now() % 2 ** 32);
const PACKETS = Math.ceil(Number(process.env.XFRM_STEER_FUZZ_PACKETS ?? 50_000) / CASES.length);
const RULES = 300;
/** Of so many keys, the one whose walk is longest. */
const CHOICE = 6;

interface Sent {
  readonly packet: Uint8Array;
  readonly mark: number;
  readonly ifindex: number;
}

/** The packet of key number `k`: an IP header and 8 bytes behind it. */
function packetOf({ stride, words }: Keys, k: number): Sent {
  const size = stride === 8 ? 1 : 4;
  const header = size === 1 ? 20 : 40;
  const packet = new Uint8Array(header + 8);
  const view = new DataView(packet.buffer);
  const word = (w: number) => words[k * stride + w] as number;
  view.setUint8(0, size === 1 ? 0x45 : 0x60);
  view.setUint8(size === 1 ? 9 : 6, word(2 * size + 1) & 0xff);
  for (let w = 0; w < 2 * size; w++) view.setUint32(header - 8 * size + 4 * w, word(w));
  view.setUint32(header, word(2 * size));
  return { packet, mark: word(2 * size + 2), ifindex: word(2 * size + 3) };
}

function keyOfPacket({ packet, mark, ifindex }: Sent): PacketKey {
  const key = parsePacket(packet, { mark, iif: ifindex === 0 ? null : `dev${ifindex}` });
  if ("malformed" in key) throw new Error(`a malformed packet was made: ${key.malformed}`);
  return key;
}

/** A third of the packets match, a third cross, and a third are those of either whose walks are longest. */
function* packetsOf(name: Case, policy: Policy, generation: Generation): Generator<Sent> {
  const third = Math.ceil(PACKETS / 3);
  const matching = matchingKeys(name, policy, third, SEED);
  const crossing = crossingKeys(name, policy, third, SEED);
  for (let k = 0; k < third; k++) {
    yield packetOf(matching, k);
    yield packetOf(crossing, k);
  }
  const steps = (sent: Sent) => {
    const walked = { steps: 0 };
    const key = keyOfPacket(sent);
    matchRules(generation, keyOf(key, BENCH_DEVICES.ifindexOf), key.sport !== null, walked);
    return walked.steps;
  };
  const many = crossingKeys(name, policy, third * CHOICE, SEED + 1);
  for (let k = 0; k < third; k++) {
    const choice = Array.from({ length: CHOICE }, (_, i) => packetOf(many, k * CHOICE + i));
    const costs = choice.map(steps);
    yield choice[costs.indexOf(Math.max(...costs))] as Sent;
  }
}

for (const name of CASES)
  rootTest(`${name}: the BPF program decides as the linear reference does`, (t) => {
    t.log(`seed ${SEED}, ${PACKETS} packets`);
    const policy = benchPolicy(name, RULES, SEED);
    const generation = compile(policy, BENCH_DEVICES);
    const object = loadClassifier(bpfObjectPath("steer_test"), generation, { l3Offset: ETHERNET });
    try {
      let steered = 0;
      for (const sent of packetsOf(name, policy, generation)) {
        const { action } = decide(policy, keyOfPacket(sent));
        const { verdict } = runPacket(object, "run_decide", sent.packet, sent);
        const ifId = action.kind === "connection" ? policy.connections[action.connection]?.ifId : 0;
        if (ifId) steered++;
        if (verdict !== (ifId ? VERDICT.connection : VERDICT.drop) || decided(object).ifId !== ifId)
          return t.fail(
            `seed ${SEED}: ${JSON.stringify({ packet: Buffer.from(sent.packet).toString("hex"), verdict, wanted: ifId, got: decided(object), mark: sent.mark, ifindex: sent.ifindex, family: familyOf(name) })}`,
          );
      }
      t.true(steered >= PACKETS / 4, `${steered} of ${PACKETS} packets were steered`);
    } finally {
      object.close();
    }
  });
