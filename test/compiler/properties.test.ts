import test from "ava";
import fc from "fast-check";
import { explain } from "../../src/compiler/explain.js";
import { formatFlow, parseFlow } from "../../src/compiler/flow.js";
import { isErrorType, type PacketKey, parsePacket } from "../../src/compiler/packet.js";
import { namesIcmp } from "../../src/compiler/quote.js";
import { decide, decidingPacket, matches } from "../../src/compiler/reference.js";
import { coversMatch } from "../../src/config/cover.js";
import { Random } from "../support/random.js";
import { randomPacket } from "../support/random-packet.js";
import { randomMatch, randomPolicy } from "../support/random-policy.js";

const seeds = fc.nat(2 ** 31);

/** A policy and a packet that is likely to hit it; null where the packet is malformed. */
function draw(seed: number) {
  const random = new Random(seed);
  const policy = randomPolicy(random, random.pick([1, 5, 40]), 6);
  const key = parsePacket(randomPacket(random, policy), {
    mark: random.below(6),
    iif: random.pick([null, "lo", "other"]),
    iifGroup: random.pick([null, "group:0", "group:9"]),
  });
  return { policy, key, random };
}

test("a rule decides only where no earlier one matches, and it matches itself", (t) => {
  let decided = 0;
  fc.assert(
    fc.property(seeds, (seed) => {
      const { policy, key } = draw(seed);
      if ("malformed" in key) return;
      const decision = decide(policy, key);
      const asked = decidingPacket(policy, key);
      const isError = isErrorType(key.family, key.icmpType) && key.fragment === "none";
      const naming = policy.rules.findIndex(
        ({ match }) => isError && namesIcmp(match, key.family) && matches(match, key),
      );
      const any = policy.rules.findIndex(({ match }) => matches(match, asked));
      const first = naming < 0 ? any : naming;
      if (decision.by === "rule") {
        t.is(decision.rule, first);
        decided++;
      } else if (decision.by !== "flow") t.is(first, -1);
    }),
    { numRuns: 2000 },
  );
  t.true(decided > 100, `${decided}`);
});

test("an explanation says what the reference decides, and why for each rule on the way", (t) => {
  fc.assert(
    fc.property(seeds, (seed) => {
      const { policy, key } = draw(seed);
      const { decision, steps, connection } = explain(policy, key);
      t.deepEqual(decision, decide(policy, key));
      if (decision.action.kind === "connection")
        t.is(connection?.ifId, policy.connections[decision.action.connection]?.ifId);
      else t.is(connection, null);
      if ("malformed" in key || decision.by === "flow") {
        t.is(steps.length, 0);
        return;
      }
      const itself = steps.some(({ ofError, matched }) => ofError && matched);
      const asked = steps.filter(({ ofError }) => !ofError);
      t.is(asked.length, itself ? 0 : decision.by === "rule" ? decision.rule + 1 : policy.rules.length);
      for (const { matched, reasons, index, ofError } of steps) {
        t.is(matched, decision.by === "rule" && index === decision.rule && ofError === itself);
        t.is(reasons.length === 0, matched);
      }
    }),
    { numRuns: 1000 },
  );
});

test("a match that covers another matches every packet that the other matches", (t) => {
  let covers = 0;
  fc.assert(
    fc.property(seeds, (seed) => {
      const { policy, key, random } = draw(seed);
      if ("malformed" in key) return;
      const inner = policy.rules.find(({ match }) => matches(match, key))?.match ?? randomMatch(random);
      // A random match seldom covers another; one that leaves fields of it open may.
      const outer = { ...(random.chance(2) ? inner : randomMatch(random)), dport: [], mark: [], dscp: [] };
      const kept = { ...outer, not: outer.not.filter((field) => outer[field].length > 0) };
      if (!coversMatch(kept, inner)) return;
      covers++;
      if (matches(inner, key)) t.true(matches(kept, key), JSON.stringify({ seed, kept, inner, key }));
    }),
    { numRuns: 3000 },
  );
  t.true(covers > 200, `${covers}`);
});

test("a flow in words is read back as it was written", (t) => {
  fc.assert(
    fc.property(seeds, (seed) => {
      const { key } = draw(seed);
      // What words cannot say: unknown protocols, and headers that are cut off.
      if ("malformed" in key || !complete(key) || (key.quoted !== null && !complete(key.quoted))) return;
      t.deepEqual(withoutLength(parseFlow(formatFlow(key))), withoutLength(key));
    }),
    { numRuns: 1000 },
  );
});

function withoutLength({ length: _, quoted, ...rest }: PacketKey): object {
  return { ...rest, quoted: quoted === null ? null : withoutLength(quoted) };
}

function complete({ proto, fragment, sport }: PacketKey): boolean {
  if (proto === null) return false;
  const ported = [6, 17, 33, 132, 136].includes(proto);
  return !ported || fragment === "later" || sport !== null;
}
