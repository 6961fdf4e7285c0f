import test from "ava";
import { lint } from "../../src/compiler/lint.js";
import { formatDiagnostic, parsePolicy } from "../../src/config/index.js";

const ESP =
  "{local: 192.0.2.1, remote: 192.0.2.2, suite: aes128-gcm, out: {spi: 0x1001, key: env:OUT}, in: {spi: 0x1002, key: env:IN}}";

/** Without what is said of replies, which test/compiler/replies.test.ts is about. */
function lintOf(text: string): string[] {
  const { policy, diagnostics } = parsePolicy(`version: 1\n${text}`, "steer.yaml");
  if (policy === null) throw new Error(JSON.stringify(diagnostics));
  const all = lint(policy).filter(({ message }) => !message.includes("dropped as bad source"));
  return all.map((each) => formatDiagnostic(each).replace(/^steer\.yaml:/, ""));
}

const tunnel = (match: string, more = "") =>
  `connections:\n  a: {if_id: 1, esp: ${ESP}}\n  b: {if_id: 2, subnets: ["fd00::/16"]}\nrules:\n${more}  - {name: r, match: ${match}, to: a}\n`;

const caught = (what: string, line = 6) =>
  `${line}:5: warning: rule r also matches the ${what} packets of its own tunnel to 192.0.2.2; put a rule with match: {dst: 192.0.2.2} and another target in front of it, or narrow its match`;

const tunnels: readonly (readonly [title: string, text: string, said: string[]])[] = [
  ["a rule for everything", tunnel("{dst: 0.0.0.0/0}"), [caught("ESP")]],
  ["a rule for the other end", tunnel("{dst: 192.0.2.2}"), [caught("ESP")]],
  ["a rule for UDP", tunnel("{proto: udp, dport: 4500}"), [caught("ESP")]],
  ["a rule for IKE alone", tunnel("{proto: udp, dport: 500}"), [caught("IKE")]],
  ["a rule for ESP alone", tunnel("{proto: esp}"), [caught("ESP")]],
  ["a negation that the outer packets pass", tunnel("{dst: {not: 10.0.0.0/8}}"), [caught("ESP")]],
  ["a rule for another address", tunnel("{dst: 192.0.2.3}"), []],
  ["a rule for other traffic", tunnel("{proto: tcp}"), []],
  ["an exception in front", tunnel("{dst: 0.0.0.0/0}", "  - {match: {dst: 192.0.2.2}, to: drop}\n"), []],
  [
    "an exception for ESP only",
    tunnel("{dst: 0.0.0.0/0}", "  - {match: {dst: 192.0.2.2, proto: esp}, to: drop}\n"),
    [caught("ESP", 7)],
  ],
  [
    "a group with the connection in it",
    tunnel("{dst: 192.0.2.2}").replace("to: a}", "to: {group: [a, b]}}"),
    [caught("ESP")],
  ],
  [
    "the connection's own subnet",
    `connections:\n  a: {if_id: 1, subnets: [192.0.2.0/24], esp: ${ESP}}\n`,
    [
      "3:3: warning: 192.0.2.0/24 of a contains the other end of its own tunnel, 192.0.2.2; narrow the subnet, or add a rule that takes the tunnel's packets",
    ],
  ],
];

for (const [title, text, said] of tunnels)
  test(`a tunnel in itself: ${title} ${said.length > 0 ? "is" : "is not"} worth a warning`, (t) => {
    t.deepEqual(lintOf(text), said);
  });

const SITES =
  "connections:\n  a: {if_id: 1, subnets: [10.1.0.0/16]}\n  b: {if_id: 2, subnets: [10.2.0.0/16]}\n";
const SHADOW =
  "3:3: warning: no packet goes to 10.1.0.0/16 of a by its subnet: rule r takes them all; put a rule with to: a in front of r if that is not meant";

const shadows: readonly (readonly [title: string, rules: string, said: string[]])[] = [
  ["a rule for a network around it", "{name: r, match: {dst: 10.0.0.0/15}, to: b}", [SHADOW]],
  ["a rule for just it", "{name: r, match: {dst: 10.1.0.0/16}, to: drop}", [SHADOW]],
  ["a rule to its own connection", "{name: r, match: {dst: 10.1.0.0/16}, to: a}", []],
  ["a rule for a part of it", "{name: r, match: {dst: 10.1.0.0/17}, to: b}", []],
  ["a rule for some of its packets", "{name: r, match: {dst: 10.0.0.0/8, proto: tcp}, to: b}", []],
  [
    "a rule for the rest, behind one to its own connection",
    "{match: {dst: 10.1.0.0/16, proto: tcp}, to: a}\n  - {name: r, match: {dst: 10.0.0.0/15}, to: b}",
    [],
  ],
];

for (const [title, rules, said] of shadows)
  test(`a shadowed subnet: ${title} ${said.length > 0 ? "is" : "is not"} worth a warning`, (t) => {
    t.deepEqual(lintOf(`${SITES}rules:\n  - ${rules}\n`), said);
  });

test("an if_id that nothing leads to is worth a warning", (t) => {
  t.deepEqual(lintOf(`${SITES}  c: {if_id: 77}\n`), [
    "5:3: warning: if_id 77 of c is never used: no rule, subnet or flow leads there; give c subnets or a rule, or remove it",
  ]);
  t.deepEqual(lintOf(`${SITES}  c: {if_id: 77}\nrules:\n  - {match: {dscp: 1}, to: {group: [a, c]}}\n`), []);
});
