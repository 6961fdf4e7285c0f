import test from "ava";
import { inexpressible, planRoutes } from "../../src/backends/kernel-lwt/plan.js";
import { routeText } from "../../src/backends/kernel-lwt/routes.js";
import { CompileError } from "../../src/compiler/error.js";
import { decide } from "../../src/compiler/reference.js";
import { contains } from "../../src/config/address.js";
import {
  type Address,
  formatPrefix,
  type Policy,
  parseAddress,
  parsePolicy,
} from "../../src/config/index.js";

const DEVICES: Record<string, number> = { wan0: 7, wan1: 8 };
const devices = { ifindexOf: (name: string) => DEVICES[name] as number, ifindexesOfGroup: () => [] };

function policyOf(t: { fail: (message: string) => void }, text: string): Policy {
  const { policy, diagnostics } = parsePolicy(`version: 1\n${text}`, "steer.yaml");
  if (policy === null) t.fail(JSON.stringify(diagnostics));
  return policy as Policy;
}

const routes = test.macro((t, text: string, expected: readonly string[]) => {
  const planned = planRoutes(policyOf(t, text), devices);
  t.deepEqual(planned.map(({ prefix, ifId, link }) => `${formatPrefix(prefix)} ${ifId} ${link}`).sort(), [
    ...expected,
  ]);
});

test(
  "each subnet is a route with its connection's if_id and link",
  routes,
  `connections:
  a: {if_id: 1, link: wan0, subnets: [10.1.0.0/16, "fd00:1::/48"]}
  b: {if_id: 2, subnets: [10.2.0.0/16]}`,
  ["10.1.0.0/16 1 7", "10.2.0.0/16 2 0", "fd00:1::/48 1 7"],
);

test(
  "a rule's prefix inside a subnet is a route of its own",
  routes,
  `connections:
  a: {if_id: 1, subnets: [10.1.0.0/16]}
  b: {if_id: 2}
rules:
  - {match: {dst: [10.1.1.0/24, 10.9.0.0/16]}, to: b}`,
  ["10.1.0.0/16 1 0", "10.1.1.0/24 2 0", "10.9.0.0/16 2 0"],
);

test(
  "a prefix that an earlier rule covers gets no route, so that the first match wins",
  routes,
  `connections:
  a: {if_id: 1, subnets: [10.1.2.0/24]}
  b: {if_id: 2}
rules:
  - {match: {dst: 10.1.0.0/16}, to: b}
  - {match: {dst: [10.1.1.0/24, 10.2.0.0/16]}, to: a}`,
  ["10.1.0.0/16 2 0", "10.2.0.0/16 1 0"],
);

test(
  "subnets inside each other go by the longest, in whatever order",
  routes,
  `connections:
  a: {if_id: 1, subnets: [10.0.0.0/8]}
  b: {if_id: 2, subnets: [10.1.0.0/16]}
  c: {if_id: 3, subnets: [0.0.0.0/0]}`,
  ["0.0.0.0/0 3 0", "10.0.0.0/8 1 0", "10.1.0.0/16 2 0"],
);

const refused = test.macro((t, text: string, expected: RegExp) => {
  const policy = policyOf(t, text);
  const error = t.throws(() => planRoutes(policy, devices), { instanceOf: CompileError });
  t.regex(error?.message ?? "", expected);
  t.true(inexpressible(policy).length > 0);
});

const CONNECTION = "connections:\n  a: {if_id: 1}\nrules:\n";
test(
  "a rule on ports",
  refused,
  `${CONNECTION}  - {name: voice, match: {dst: 10.1.0.0/16, proto: udp, dport: 5060}, to: a}`,
  /^steer\.yaml:5:5: error: rule voice matches on proto, dport; /,
);
test(
  "a rule on src",
  refused,
  `${CONNECTION}  - {name: s, match: {src: 10.1.0.0/16}, to: a}`,
  /rule s matches on src;/,
);
test(
  "a rule on dscp 0",
  refused,
  `${CONNECTION}  - {name: s, match: {dst: 10.0.0.1, dscp: 0}, to: a}`,
  /rule s matches on dscp;/,
);
test("a rule without dst", refused, `${CONNECTION}  - {name: all, to: a}`, /rule all has no dst;/);
test(
  "a rule to drop",
  refused,
  `${CONNECTION}  - {name: no, match: {dst: 10.1.0.0/16}, to: drop}`,
  /rule no goes to drop;/,
);
test(
  "default: pass",
  refused,
  "connections:\n  a: {if_id: 1}\ndefault: pass",
  /default: pass needs a program/,
);
test(
  "an rx mark",
  refused,
  "connections:\n  a: {if_id: 1, rx: {mark: 1}}",
  /^steer\.yaml:3:3: error: connection a has an rx mark/,
);
test(
  "a shared prefix",
  refused,
  "connections:\n  a: {if_id: 1, subnets: [10.1.0.0/16]}\n  b: {if_id: 2, subnets: [10.1.0.0/16]}\nrules:\n  - {match: {dst: 10.1.1.0/24}, to: a}\n  - {match: {dst: 10.1.2.0/24}, to: b}",
  /^steer\.yaml:4:3: error: connections a and b share 10\.1\.0\.0\/16/,
);

test("all that is wrong is said at once, in the order of the file", (t) => {
  const policy = policyOf(
    t,
    `${CONNECTION}  - {name: x, match: {src: 10.0.0.1}, to: a}\n  - {name: y, to: a}`,
  );
  const error = t.throws(() => planRoutes(policy, devices), { instanceOf: CompileError });
  t.deepEqual(error?.rules, ["x", "y"]);
  t.is(error?.message.split("\n").length, 2);
});

test("routes decide as the rules do, for addresses around every border", (t) => {
  const policy = policyOf(
    t,
    `connections:
  a: {if_id: 1, subnets: [10.0.0.0/8, 10.1.128.0/17]}
  b: {if_id: 2, subnets: [10.1.0.0/16, 10.3.0.0/16]}
  c: {if_id: 3, subnets: [10.1.7.0/24]}
rules:
  - {match: {dst: [10.1.7.128/25, 10.3.4.0/22]}, to: a}
  - {match: {dst: [10.1.7.0/25, 10.3.0.0/20, 10.1.7.192/26]}, to: b}
  - {match: {dst: 10.3.5.5}, to: c}`,
  );
  const planned = planRoutes(policy, devices);
  const borders = planned.flatMap(({ prefix }) => {
    const [first = 0] = prefix.words;
    const size = 2 ** (32 - prefix.length);
    return [first - 1, first, first + size - 1, first + size].filter((word) => word >= 0 && word < 2 ** 32);
  });
  for (const word of borders) {
    const address: Address = { family: 4, words: [word] };
    const [longest] = planned
      .filter(({ prefix }) => contains(prefix, address))
      .sort((x, y) => y.prefix.length - x.prefix.length);
    const src = parseAddress("192.0.2.1") as Address;
    const { action } = decide(policy, {
      ...{ family: 4, src: src.words, dst: [word], proto: 1, sport: null, dport: null },
      ...{
        icmpType: null,
        dscp: 0,
        ecn: 0,
        fragment: "none",
        mark: 0,
        iif: null,
        iifGroup: null,
        length: 20,
        quoted: null,
      },
    });
    const wanted = action.kind === "connection" ? policy.connections[action.connection]?.ifId : undefined;
    t.is(longest?.ifId, wanted, String(word));
  }
});

test("a route's text has what tells it from other people's", (t) => {
  const prefix = { family: 6, words: [0xfd000001, 0, 0, 0], length: 64 } as const;
  t.is(
    routeText("ipsec0", { prefix, ifId: 5, link: 7 }),
    "fd00:1::/64 dev ipsec0 proto 88 metric 1 encap xfrm if_id 5 link_dev if7",
  );
});

test("a device that is not there is named with what names it", (t) => {
  const missing = () => {
    throw new Error("no such device");
  };
  const plan = (text: string) => () => planRoutes(policyOf(t, text), { ...devices, ifindexOf: missing });
  t.throws(plan("connections: {a: {if_id: 1, link: wan9, subnets: [10.1.0.0/16]}}"), {
    message: "steer.yaml:2:15: connection a: no such device",
  });
  t.throws(
    plan(
      "connections: {a: {if_id: 1}}\nrules: [{name: r, match: {dst: 10.1.0.0/16}, to: {connection: a, link: wan9}}]",
    ),
    { message: "steer.yaml:3:9: rule r: no such device" },
  );
});
