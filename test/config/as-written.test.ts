import test from "ava";
import { formatDiagnostic, parsePolicy } from "../../src/config/index.js";

const said = (text: string) => parsePolicy(text, "steer.yaml").diagnostics.map(formatDiagnostic);

test("names that look like numbers stay as they are written", (t) => {
  const { policy, diagnostics } = parsePolicy(
    `version: 1
connections:
  0047: {if_id: 1}
  47: {if_id: 2}
  1.10: {if_id: 3, link: 010}
  1.1: {if_id: 4}
  0x10: {if_id: 0x10}
  true: {if_id: 6}
rules:
  - {name: 0050, match: {dport: 80, proto: 6, iif: 007}, to: 0047}
  - {name: 1e3, match: {dport: 81, proto: 17, iif: [08, {}.x]}, to: {connection: 1.10, link: 0}}
  - {name: 12, to: {group: [0x10, {1.1: 2}, true, {47: 1}]}}
`.replace("{}.x", "eth0"),
    "steer.yaml",
  );
  t.deepEqual(diagnostics.map(formatDiagnostic), []);
  t.deepEqual(
    policy?.connections.map(({ name, ifId, link }) => [name, ifId, link]),
    [
      ["0047", 1, null],
      ["47", 2, null],
      ["1.10", 3, "010"],
      ["1.1", 4, null],
      ["0x10", 16, null],
      ["true", 6, null],
    ],
  );
  t.deepEqual(
    policy?.rules.map(({ name, match: { iif, proto } }) => [name, iif, proto]),
    [
      ["0050", ["007"], [6]],
      ["1e3", ["08", "eth0"], [17]],
      ["12", [], []],
    ],
  );
  t.deepEqual(
    policy?.rules.map(({ to }) => to),
    [
      { kind: "connection", connection: "0047", link: null },
      { kind: "connection", connection: "1.10", link: "0" },
      {
        kind: "group",
        members: [
          { connection: "0x10", weight: 1 },
          { connection: "1.1", weight: 2 },
          { connection: "true", weight: 1 },
          { connection: "47", weight: 1 },
        ],
      },
    ],
  );
});

test("a name with other zeros than the connection's is another name", (t) => {
  t.deepEqual(said("version: 1\nconnections: {0047: {if_id: 1}}\nrules: [{to: 47}]\n"), [
    'steer.yaml:3:14: error: there is no connection "47"; write the name of a connection, drop or pass',
  ]);
});

test("files that look like numbers are looked for as they are written", (t) => {
  t.deepEqual(said("version: 1\nconnections: {a: {if_id: 1}}\nrules: [{to: a}]\ninclude: 0010\n"), [
    `steer.yaml:4:10: error: ${process.cwd()}/0010 does not exist; check the path`,
  ]);
});

for (const [title, text, place, wrong, right] of [
  ["an if_id", "connections: {a: {if_id: 010}}", "2:26", "010", "write 10, or 0o10 for 8"],
  ["an if_id that is no octal", "connections: {a: {if_id: 089}}", "2:26", "089", "write 89"],
  [
    "a port in a list",
    "connections: {a: {if_id: 1}}\nrules: [{match: {proto: udp, dport: [53, 0123]}, to: a}]",
    "3:42",
    "0123",
    "write 123, or 0o123 for 83",
  ],
  ["a mark", "connections: {a: {if_id: 1, rx: {mark: 020}}}", "2:40", "020", "write 20, or 0o20 for 16"],
] as const)
  test(`${title} with a zero in front is refused: YAML 1.1 takes it for octal`, (t) => {
    t.deepEqual(said(`version: 1\n${text}\n`), [
      `steer.yaml:${place}: error: ${wrong} begins with a zero: to YAML 1.1 that is octal, to YAML 1.2 decimal; ${right}`,
    ]);
  });

test("numbers with zeros in front are refused inside of texts too", (t) => {
  t.deepEqual(
    said(
      'version: 1\nconnections: {a: {if_id: 1}}\nrules:\n- {match: {proto: udp, dport: 010-020, mark: 010/0xff}, to: a}\n- {match: {proto: "017"}, to: a}\n',
    ).map((line) => line.replace(/ or one of .*/, "")),
    [
      'steer.yaml:4:31: error: "010-020" is not a port; write a port (53) or a range ("5060-5070"), without zeros in front',
      'steer.yaml:4:46: error: mark "010/0xff" is not a mark; write a value (0x66) or value/mask (0x1/0xff), without zeros in front',
      'steer.yaml:5:19: error: "017" is not a protocol; write a number from 0 to 255',
    ],
  );
});
