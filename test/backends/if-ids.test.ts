import test from "ava";
import { formatHeld, heldResult, ifIdChanges } from "../../src/backends/kernel/if-id-text.js";
import { type Applied, heldIfIds, planIfIds } from "../../src/backends/kernel/if-ids.js";
import { parseSas } from "../../src/backends/kernel/installed-sas.js";
import { planRoutes } from "../../src/backends/kernel-lwt/plan.js";
import { routeText } from "../../src/backends/kernel-lwt/routes.js";
import { formatChange } from "../../src/compiler/plan.js";
import { formatPrefix } from "../../src/config/address.js";
import { parsePolicy } from "../../src/config/index.js";

type Sas = Record<number, readonly string[]>;

/** One gateway's applies, one after the other. */
class Applies {
  last: Applied | null = null;

  /** @returns held if_ids as "IF_ID: BEFORE -> CONNECTION", and what is opened */
  apply(connections: Record<string, number>, sas: Sas = {}, { mayOpen = true, killed = false } = {}) {
    const named = Object.entries(connections).map(([name, ifId]) => ({ name, ifId }));
    const installed = () => new Map(Object.entries(sas).map(([ifId, list]) => [Number(ifId), list]));
    const plan = planIfIds(named, this.last, installed, mayOpen);
    const settled = mayOpen ? !killed : (this.last?.ifIds.settled ?? true);
    this.last = { connections: named, ifIds: { kept: plan.kept, settled } };
    return {
      held: plan.held.map(({ ifId, before, connection }) => `${ifId}: ${before} -> ${connection}`),
      opened: plan.opened,
    };
  }
}

const OLD: Sas = { 1: ["a's"], 2: ["b's"] };
const NEW: Sas = { 1: ["b's new"], 2: ["a's new"] };
const EXCHANGED = ["1: a -> b", "2: b -> a"];

test("an exchange is held, and opened by the next apply once the SAs have followed", (t) => {
  const applies = new Applies();
  t.deepEqual(applies.apply({ a: 1, b: 2 }), { held: [], opened: [] });
  t.deepEqual(applies.apply({ a: 2, b: 1 }, OLD), { held: EXCHANGED, opened: [] });
  t.deepEqual(applies.apply({ a: 2, b: 1 }, NEW), { held: [], opened: [2, 1] });
  t.deepEqual(applies.apply({ a: 2, b: 1 }, NEW), { held: [], opened: [] });
});

test("SAs that were there when it was held keep it so, each if_id by itself", (t) => {
  const applies = new Applies();
  applies.apply({ a: 1, b: 2 });
  applies.apply({ a: 2, b: 1 }, OLD);
  t.deepEqual(applies.apply({ a: 2, b: 1 }, OLD), { held: EXCHANGED, opened: [] });
  t.deepEqual(applies.apply({ a: 2, b: 1 }, { 1: ["b's new", "a's"], 2: [] }), {
    held: ["1: a -> b"],
    opened: [2],
  });
  t.deepEqual(applies.apply({ a: 2, b: 1 }, NEW), { held: [], opened: [1] });
});

test("without SAs at first, the second apply opens it", (t) => {
  const applies = new Applies();
  applies.apply({ a: 1, b: 2 });
  t.deepEqual(applies.apply({ a: 2, b: 1 }), { held: EXCHANGED, opened: [] });
  t.deepEqual(applies.apply({ a: 2, b: 1 }, NEW), { held: [], opened: [2, 1] });
});

test("removing the first of enumerated connections holds what the others take over", (t) => {
  const applies = new Applies();
  applies.apply({ a: 1, b: 2, c: 3 });
  t.deepEqual(applies.apply({ b: 1, c: 2 }).held, ["1: a -> b", "2: b -> c"]);
});

test("an if_id that an earlier apply freed is held when another connection takes it, and not when its own comes back", (t) => {
  const applies = new Applies();
  applies.apply({ a: 1, b: 2 });
  applies.apply({ b: 2 });
  applies.apply({ b: 2, c: 3 });
  t.deepEqual(applies.apply({ b: 2, c: 3, a: 1 }), { held: [], opened: [] });
  applies.apply({ b: 2, c: 3 });
  t.deepEqual(applies.apply({ b: 2, c: 1 }).held, ["1: a -> c"]);
});

test("freed while it was held, it is still held when it comes back", (t) => {
  const applies = new Applies();
  applies.apply({ a: 1 });
  applies.apply({ b: 1 }, { 1: ["a's"] });
  applies.apply({ c: 9 }, { 1: ["a's"] });
  t.deepEqual(applies.apply({ b: 1 }, { 1: ["a's"] }).held, ["1: a -> b"]);
});

test("taken back before the SAs have changed, it is open at once", (t) => {
  const applies = new Applies();
  applies.apply({ a: 1, b: 2 });
  applies.apply({ a: 2, b: 1 }, OLD);
  t.deepEqual(applies.apply({ a: 1, b: 2 }, OLD), { held: [], opened: [1, 2] });
});

test("taken back after they have, it is held for the new ones", (t) => {
  const applies = new Applies();
  applies.apply({ a: 1, b: 2 });
  applies.apply({ a: 2, b: 1 }, OLD);
  t.deepEqual(applies.apply({ a: 1, b: 2 }, NEW).held, ["1: b -> a", "2: a -> b"]);
  t.deepEqual(applies.apply({ a: 1, b: 2 }, NEW).held, ["1: b -> a", "2: a -> b"]);
  t.deepEqual(applies.apply({ a: 1, b: 2 }, { 1: ["a's newest"] }), { held: [], opened: [1, 2] });
});

test("given on to a third connection, it is held for that", (t) => {
  const applies = new Applies();
  applies.apply({ a: 1 });
  applies.apply({ b: 1 }, { 1: ["a's"] });
  t.deepEqual(applies.apply({ c: 1 }, { 1: ["a's", "b's"] }).held, ["1: a -> c"]);
  t.deepEqual(applies.apply({ c: 1 }, { 1: ["b's"] }).held, ["1: a -> c"]);
  t.deepEqual(applies.apply({ c: 1 }, { 1: ["c's"] }), { held: [], opened: [1] });
});

test("the same policy for another reason opens nothing, nor does the first after a killed apply", (t) => {
  const applies = new Applies();
  applies.apply({ a: 1, b: 2 });
  applies.apply({ a: 2, b: 1 }, {}, { killed: true });
  t.deepEqual(applies.apply({ a: 2, b: 1 }, {}, { mayOpen: false }), { held: EXCHANGED, opened: [] });
  t.deepEqual(applies.apply({ a: 2, b: 1 }), { held: EXCHANGED, opened: [] });
  t.deepEqual(applies.apply({ a: 2, b: 1 }, {}, { mayOpen: false }), { held: EXCHANGED, opened: [] });
  t.deepEqual(applies.apply({ a: 2, b: 1 }), { held: [], opened: [2, 1] });
});

test("SAs are looked for only where an if_id changes hands", (t) => {
  const fail = () => t.fail() as never;
  const connections = [{ name: "a", ifId: 1 }];
  planIfIds(connections, null, fail);
  planIfIds(
    [...connections, { name: "b", ifId: 2 }],
    { connections, ifIds: { kept: [], settled: true } },
    fail,
  );
  t.pass();
});

const SA_LIST = `src 172.16.1.100 dst 172.16.1.200
	proto esp spi 0x00001000 reqid 1 mode tunnel
	replay-window 32 flag af-unspec
	anti-replay context: seq 0x0, oseq 0x5, bitmap 0x00000000
	if_id 0x65
src fd00::1 dst fd00::2
	proto esp spi 0x00001001(4097) reqid 1(0x00000001) mode transport
	if_id 0x65
src 10.0.0.1 dst 10.0.0.2
	proto esp spi 0x00000000 reqid 0 mode transport
	if_id 0x66
src 10.0.0.1 dst 10.0.0.2
	proto esp spi 0x00000007 reqid 0 mode transport
`;

test("SAs are read by their if_id, without those that only a daemon was asked for", (t) => {
  t.deepEqual(
    [...parseSas(SA_LIST)],
    [[0x65, ["esp 0x00001000 from 172.16.1.100 to 172.16.1.200", "esp 0x00001001 from fd00::1 to fd00::2"]]],
  );
});

test("what is held is told: whose it was and is, its SAs, and what to do", (t) => {
  const before: Applied = {
    connections: [{ name: "branch-a", ifId: 101 }],
    ifIds: { kept: [], settled: true },
  };
  const connections = [{ name: "branch-b", ifId: 101 }];
  const plan = planIfIds(connections, before, () => parseSas(SA_LIST));
  const { warning, held } = heldResult(plan, "first");
  t.regex(
    warning ?? "",
    /^first\nan if_id is held: .*dropped\n {2}if_id 101 \(0x65\) was branch-a's and is branch-b's now; SAs of branch-a: esp 0x00001000 from .*\n {2}let the IKE daemon, .* then apply again$/,
  );
  t.is(held?.length, 1);
  const record = { connections, ifIds: { kept: plan.kept, settled: true } };
  t.deepEqual(heldIfIds(record), plan.held);
  t.regex(
    formatHeld(plan.held[0] as never),
    /^held: if_id 101 \(0x65\) is branch-b's and was branch-a's; SAs/,
  );
  t.deepEqual(ifIdChanges(plan).map(formatChange), [
    "~ if_id 101 (0x65)\n    branch-a -> branch-b: held, its packets are dropped until an apply after this one",
  ]);
  const again = planIfIds(connections, record, () => parseSas(SA_LIST));
  t.regex(
    heldResult(again, null).warning ?? "",
    /if_id 101 \(0x65\) of branch-b stays held; SAs of branch-a/,
  );
  t.deepEqual(ifIdChanges(again), []);
  t.deepEqual(ifIdChanges(planIfIds(connections, record, () => new Map())).map(formatChange), [
    "~ if_id 101 (0x65)\n    held -> open",
  ]);
});

test("a held connection's routes stay, without metadata, so that nothing goes by a shorter prefix", (t) => {
  const { policy } = parsePolicy(
    `version: 1
connections:
  wide: {if_id: 1, subnets: [10.0.0.0/8]}
  held: {if_id: 2, link: wan0, subnets: [10.1.0.0/16, "fd00:1::/48"]}
`,
    "steer.yaml",
  );
  if (policy === null) return t.fail();
  const devices = { ifindexOf: () => 7, ifindexesOfGroup: () => [] };
  const routes = planRoutes(policy, devices, new Set([2]));
  t.deepEqual(routes.map(({ prefix, ifId, link }) => `${formatPrefix(prefix)} ${ifId} ${link}`).sort(), [
    "10.0.0.0/8 1 0",
    "10.1.0.0/16 0 0",
    "fd00:1::/48 0 0",
  ]);
  t.deepEqual(routes.map((route) => routeText("ipsec0", route)).sort(), [
    "10.0.0.0/8 dev ipsec0 proto 88 encap xfrm if_id 1",
    "10.1.0.0/16 dev ipsec0 proto 88",
    "fd00:1::/48 dev ipsec0 proto 88 metric 1",
  ]);
});
