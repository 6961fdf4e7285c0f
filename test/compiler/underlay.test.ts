import test from "ava";
import { compileUnderlay, exemptions, underlayNotes } from "../../src/compiler/underlay.js";
import { parseAddress } from "../../src/config/address.js";
import { formatDiagnostic, type Policy, parsePolicy } from "../../src/config/index.js";

const esp = (remote: string, more = "") =>
  `esp: {local: 192.0.2.1, remote: ${remote}, suite: aes128-gcm, out: {spi: 0x1001, key: env:OUT}, in: {spi: 0x1002, key: env:IN}${more}}`;

function read(connections: string): Policy {
  const { policy, diagnostics } = parsePolicy(`version: 1\nconnections:\n${connections}`, "steer.yaml");
  if (policy === null) throw new Error(JSON.stringify(diagnostics));
  return policy;
}

const exempt = (subnets: string, remote = "192.0.2.2") =>
  exemptions(read(`  a: {if_id: 1, subnets: [${subnets}], ${esp(remote)}}\n`)).map(
    ({ family, reason }) => `IPv${family}: ${reason}`,
  );

const cases: readonly (readonly [title: string, subnets: string, said: string[]])[] = [
  ["subnets elsewhere", `10.1.0.0/16, "fd00::/16"`, []],
  ["all of IPv4, in one family alone", `0.0.0.0/0, "fd00::/16"`, ["IPv4: all of IPv4"]],
  ["all of both", `0.0.0.0/0, "::/0"`, ["IPv4: all of IPv4", "IPv6: all of IPv6"]],
  ["two halves", "0.0.0.0/1, 128.0.0.0/1", ["IPv4: all of IPv4"]],
  ["parts of many lengths", "0.0.0.0/2, 64.0.0.0/3, 96.0.0.0/3, 128.0.0.0/1", ["IPv4: all of IPv4"]],
  ["as many addresses, some of them twice", "0.0.0.0/1, 0.0.0.0/2, 64.0.0.0/2", []],
  ["halves without a piece", `"::/1", "8000::/2", "c000::/3"`, []],
  [
    "its own peer, as in transport mode",
    "192.0.2.2/32",
    ["IPv4: 192.0.2.2/32, and its own peer 192.0.2.2 is in that"],
  ],
  [
    "a network around its own peer",
    "10.1.0.0/16, 192.0.0.0/16",
    ["IPv4: 192.0.0.0/16, and its own peer 192.0.2.2 is in that"],
  ],
];

for (const [title, subnets, said] of cases)
  test(`${title}: ${said.length > 0 ? "exempt" : "checked"}`, (t) => t.deepEqual(exempt(subnets), said));

test("peers that only the kernel knows count as those of the policy", (t) => {
  const policy = read("  a: {if_id: 1, subnets: [10.1.0.0/16]}\n  b: {if_id: 2, subnets: [10.2.0.0/16]}\n");
  const peer = parseAddress("10.2.0.9");
  const found = exemptions(policy, ({ name }) => (peer && name !== "a" ? [peer] : []));
  t.deepEqual(
    found.map(({ connection }) => connection.name),
    ["b"],
  );
  // Of another connection's peer, plaintext is as forged as of any host of that connection.
  t.deepEqual(
    exemptions(policy, ({ name }) => (peer && name === "a" ? [peer] : [])),
    [],
  );
});

test("check has a note for each connection without the check", (t) => {
  const policy = read(
    `  a: {if_id: 1, subnets: [10.1.0.0/16, 0.0.0.0/0]}\n  b: {if_id: 2, subnets: [10.2.0.0/16]}\n`,
  );
  t.deepEqual(underlayNotes(policy).map(formatDiagnostic), [
    "steer.yaml:3:3: note: plaintext from the underlay with a source of a is not refused: it owns all of IPv4; own less, if sources are to be checked where they come in",
  ]);
});

test("where nothing is to be refused there is no program", (t) => {
  const all = read("  a: {if_id: 1, subnets: [0.0.0.0/0]}\n");
  t.is(compileUnderlay(all, exemptions(all)), null);
  const none = read("  a: {if_id: 1}\n");
  t.is(compileUnderlay(none, exemptions(none)), null);
  const some = read("  a: {if_id: 1, subnets: [0.0.0.0/0]}\n  b: {if_id: 2, subnets: [10.2.0.0/16]}\n");
  t.not(compileUnderlay(some, exemptions(some)), null);
});

test("check names a few connections without the check, and counts the others", (t) => {
  const connections = Array.from(
    { length: 10 },
    (_, i) => `  c${i}: {if_id: ${i + 1}, subnets: ["0.0.0.0/0"]}\n`,
  );
  // They share all addresses: a rule has to decide.
  const members = connections.map((_, i) => `{c${i}: 1}`).join(", ");
  const policy = read(`${connections.join("")}rules:\n  - {to: {group: [${members}]}}\n`);
  const notes = underlayNotes(policy).map(({ message }) => message);
  t.is(notes.length, 3);
  t.regex(notes[2] ?? "", /; the same holds for 7 more$/);
});
