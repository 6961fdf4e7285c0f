import path from "node:path";
import test, { type ExecutionContext } from "ava";
import { formatDiagnostic, loadPolicy } from "../../src/config/index.js";
import { folderWith } from "../support/folder.js";

function load(t: ExecutionContext, files: Record<string, string>) {
  const folder = folderWith(t, files);
  const { policy, diagnostics } = loadPolicy(path.join(folder, "steer.yaml"));
  const said = diagnostics.map((each) =>
    formatDiagnostic({ ...each, file: path.relative(folder, each.file) }).replaceAll(`${folder}/`, ""),
  );
  return { policy, said };
}

const sas = (n: number) =>
  `out: {spi: ${0x1000 + 2 * n}, key: env:OUT${n}}, in: {spi: ${0x1001 + 2 * n}, key: env:IN${n}}`;

const SPOKES = `connections:
  a: {if_id: 1, subnets: [10.1.0.0/16], esp: {remote: 198.51.100.1, ${sas(1)}}}
  b: {if_id: 2, subnets: [10.2.0.0/16], link: wan1, esp: {remote: 198.51.100.2, suite: aes128-gcm, lifetime: {hard: {seconds: 9}, soft: {bytes: 5}}, ${sas(2)}}}
  c: {if_id: 3, subnets: [10.3.0.0/16]}
`;
const DEFAULTS = `defaults:
  link: wan0
  rx: {mark: 7}
  esp: {local: 192.0.2.1, suite: aes256-gcm, esn: true, lifetime: {soft: {seconds: 3, packets: 4}}}
`;

test("what a connection does not say it takes from defaults, mapping by mapping", (t) => {
  const { policy, said } = load(t, { "steer.yaml": `version: 1\n${DEFAULTS}${SPOKES}` });
  t.deepEqual(said, []);
  t.deepEqual(
    policy?.connections.map(({ name, link, rxMark, esp }) => [
      name,
      link,
      rxMark?.value,
      esp && [esp.local, esp.remote, esp.suite, esp.esn, esp.lifetime],
    ]),
    [
      [
        "a",
        "wan0",
        7,
        ["192.0.2.1", "198.51.100.1", "aes256-gcm", true, { soft: { packets: 4, seconds: 3 } }],
      ],
      [
        "b",
        "wan1",
        7,
        [
          "192.0.2.1",
          "198.51.100.2",
          "aes128-gcm",
          true,
          { soft: { packets: 4, bytes: 5, seconds: 3 }, hard: { seconds: 9 } },
        ],
      ],
      ["c", "wan0", 7, null],
    ],
  );
});

test("included files take the defaults of the file that includes them, behind their own", (t) => {
  const { policy, said } = load(t, {
    "steer.yaml": `version: 1\n${DEFAULTS}include: spokes.yaml\n`,
    "spokes.yaml": `version: 1\ndefaults: {link: wan7, esp: {suite: aes192-gcm}}\n${SPOKES}`,
  });
  t.deepEqual(said, []);
  t.deepEqual(
    policy?.connections.map(({ link, esp }) => [link, esp?.suite ?? null, esp?.local ?? null]),
    [
      ["wan7", "aes192-gcm", "192.0.2.1"],
      ["wan1", "aes128-gcm", "192.0.2.1"],
      ["wan7", null, null],
    ],
  );
});

test("what is wrong with a default is said once, where it is written, in whatever file", (t) => {
  const { said } = load(t, {
    "steer.yaml":
      "version: 1\ndefaults:\n  link: wan0:1\n  esp: {local: 192.0.2.300, suite: aes, mtu: 1}\ninclude: spokes.yaml\n",
    "spokes.yaml": `version: 1\n${SPOKES}`,
  });
  t.deepEqual(
    said.map((line) => line.replace(/; write one of.*|; the keys of.*/, "")),
    [
      "steer.yaml:3:9: error: \"wan0:1\" is not a valid interface name; use 1 to 15 bytes without white space, '/', ':' or '%'",
      'steer.yaml:4:16: error: "192.0.2.300" is not an IP address; write one such as 192.0.2.1 or, in quotes, "2001:db8::1"',
      'steer.yaml:4:36: error: suite is "aes"',
      'steer.yaml:4:41: error: unknown key "mtu"',
    ],
  );
});

test("what neither says is missing in the connection; keys and SPIs have no defaults", (t) => {
  const { said } = load(t, {
    "steer.yaml": `version: 1
defaults: {if_id: 5, subnets: [], esp: {local: 192.0.2.1, out: {spi: 0x1000, key: env:A}}}
connections:
  a: {if_id: 1, esp: {in: {spi: 0x1001, key: env:B}}}
rules: [{to: a}]
`,
  });
  t.deepEqual(
    said.map((line) => line.replace(/; write (?!it in).*/, "")),
    [
      "steer.yaml:2:12: error: if_id cannot be a default; write it in each connection, which has its own",
      "steer.yaml:2:22: error: subnets cannot be a default; write it in each connection, which has its own",
      "steer.yaml:2:59: error: out cannot be a default; write it in each connection, which has its own",
      "steer.yaml:4:17: error: esp has no remote",
      "steer.yaml:4:17: error: esp has no suite",
      "steer.yaml:4:17: error: esp has no out",
    ],
  );
});

test("merge keys: a mapping's own keys come first, then earlier mappings", (t) => {
  const { policy, said } = load(t, {
    "steer.yaml": `version: 1
x-lte: &lte {link: lte0, rx: {mark: 1}}
x-esp: &esp
  local: 192.0.2.1
  suite: aes256-gcm
x-old: &old {<<: *esp, suite: aes128-cbc-sha1}
connections:
  a: &a {if_id: 1, link: wan0, <<: *lte}
  b: {<<: *lte, if_id: 2, esp: {<<: *old, remote: 198.51.100.1, ${sas(1)}}}
  c: {<<: [{link: dsl0}, *lte], if_id: 3, esp: {remote: 198.51.100.2, <<: *esp, ${sas(2)}}}
  d: {<<: *a, if_id: 4}
rules: [{to: {group: [a, b, c, d]}}]
`,
  });
  t.deepEqual(said, []);
  t.deepEqual(
    policy?.connections.map(({ ifId, link, rxMark, esp }) => [ifId, link, rxMark?.value, esp?.suite ?? null]),
    [
      [1, "wan0", 1, null],
      [2, "lte0", 1, "aes128-cbc-sha1"],
      [3, "dsl0", 1, "aes256-gcm"],
      [4, "wan0", 1, null],
    ],
  );
});

test("merge keys: what is wrong with a merged value is said once, where it is written", (t) => {
  const { said } = load(t, {
    "steer.yaml": `version: 1
x-one: &one {link: "wan 0", subnet: [10.0.0.0/8]}
connections:
  a: {if_id: 1, <<: *one}
  b: {if_id: 2, <<: *one}
  c: {if_id: 3, <<: 4}
  d: {if_id: 5, <<: [*one, [*one]]}
  "<<": {if_id: 6}
rules: [{to: {group: [a, b, c, d]}}]
`,
  });
  const hint = "write <<: *name, the alias of a mapping, or a list of such aliases";
  t.deepEqual(said, [
    "steer.yaml:2:20: error: \"wan 0\" is not a valid interface name; use 1 to 15 bytes without white space, '/', ':' or '%'",
    'steer.yaml:2:29: error: unknown key "subnet"; did you mean subnets?',
    `steer.yaml:6:21: error: << merges mappings, and this is none; ${hint}`,
    `steer.yaml:7:28: error: << merges mappings, and this is none; ${hint}`,
    `steer.yaml:8:3: error: "<<" is not a valid connection name; start with a letter or digit, then letters, digits, '.', '_' or '-', at most 63 in all`,
  ]);
});

test("ten thousand connections may merge one mapping", (t) => {
  const many = Array.from({ length: 10_000 }, (_, index) => `  c${index}: {<<: *d, if_id: ${index + 1}}\n`);
  const { policy, said } = load(t, {
    "steer.yaml":
      `version: 1\nx: \n`.replace("x: ", "x-d: &d {link: wan0, rx: {mark: 0x1/0xff}}") +
      `connections:\n${many.join("")}rules: [{to: c1}]\n`,
  });
  t.deepEqual(said, []);
  t.is(policy?.connections.length, 10_000);
  t.true(policy?.connections.every(({ link }) => link === "wan0"));
});

test("a chain of merges that doubles is refused in no time", (t) => {
  const chain = Array.from(
    { length: 28 },
    (_, index) => `x-${index + 1}: &m${index + 1} {a${index}: *m${index}, b: {<<: *m${index}}}\n`,
  );
  const { said } = load(t, { "steer.yaml": `version: 1\nx-0: &m0 {a: 1}\n${chain.join("")}` });
  t.is(said.length, 1);
  t.regex(
    said[0] ?? "",
    /aliases expand to more than 10000 values; write the values out or use fewer aliases$/,
  );
});
