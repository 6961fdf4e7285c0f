import { join } from "node:path";
import test from "ava";
import { formatDiagnostic, parsePolicy } from "../../src/config/index.js";
import { folderWith } from "../support/folder.js";

const ESP = (more: string) =>
  `esp: {local: "2001:db8::1", remote: "2001:db8::2", suite: aes128-gcm, out: {spi: 0x1001, key: env:OUT}, in: {spi: 0x1002, key: env:IN}${more}}`;

const cases: readonly (readonly [what: string, more: string, refused: boolean])[] = [
  [
    "IPv4 subnets and rules",
    "  a: {if_id: 1, subnets: [10.1.0.0/16]}\nrules: [{match: {proto: udp}, to: a}]",
    false,
  ],
  ["a tunnel over IPv6 with IPv4 inside", `  a: {if_id: 1, subnets: [10.1.0.0/16], ${ESP("")}}`, false],
  ["transport mode over IPv6", `  a: {if_id: 1, subnets: [10.1.0.0/16], ${ESP(", mode: transport")}}`, true],
  ["a subnet", '  a: {if_id: 1, subnets: ["fd00:1::/48"]}', true],
  ["a rule's dst", '  a: {if_id: 1}\nrules: [{match: {dst: "fd00:1::/48"}, to: a}]', true],
  ["a rule's src", '  a: {if_id: 1}\nrules: [{match: {src: {not: "fd00:1::/48"}}, to: drop}]', true],
  ["a flow's subnet", "  a: {if_id: 1}\nflows: subnets.csv", true],
  ["an exact flow", "  a: {if_id: 1}\nflows: exact.csv", true],
];

for (const [what, more, refused] of cases)
  test(`mtu 1000 is ${refused ? "refused" : "taken"} with ${what}`, (t) => {
    const folder = folderWith(t, {
      "subnets.csv": "dst,connection\nfd00:1::/48,a\n",
      "exact.csv": "src,dst,proto,connection\nfd00::1,fd00:1::1,ipv6-icmp,a\n",
    });
    const text = `version: 1\ninterface: {mtu: 1000}\nconnections:\n${more}\n`;
    const { diagnostics } = parsePolicy(text, join(folder, "steer.yaml"));
    const errors = diagnostics.filter(({ severity }) => severity === "error").map(formatDiagnostic);
    t.deepEqual(
      errors.map((error) => error.replace(/^.*steer\.yaml:/, "")),
      refused ? ["2:18: error: mtu 1000 is too small for IPv6; write auto or at least 1280"] : [],
    );
  });
