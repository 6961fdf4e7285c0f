import { spawnSync } from "node:child_process";
import { closeSync, openSync, writeSync } from "node:fs";
import path from "node:path";
import test, { type ExecutionContext } from "ava";
import { parseFlow } from "../../src/compiler/flow.js";
import { admitted, decide } from "../../src/compiler/reference.js";
import { formatDiagnostic, loadPolicy } from "../../src/config/index.js";
import { folderWith } from "../support/folder.js";

const HEAD =
  'version: 1\nconnections:\n  a: {if_id: 1, subnets: [10.0.0.0/8, "fd00::/16"]}\n  b: {if_id: 2}\n';

function load(t: ExecutionContext, files: Record<string, string>, names = Object.keys(files)) {
  const folder = folderWith(t, { "steer.yaml": `${HEAD}flows: [${names.join(", ")}]\n`, ...files });
  const { policy, diagnostics } = loadPolicy(path.join(folder, "steer.yaml"));
  const said = diagnostics.map((each) =>
    formatDiagnostic({ ...each, file: path.basename(each.file) }).replaceAll(`${folder}/`, ""),
  );
  return { policy, said };
}

const CSV = `# sites that moved
src,dst,proto,sport,dport,connection
,10.1.0.0/16,,,,b
,fd00:1::/32,,,,b
10.0.0.1,10.9.0.1,udp,1234,5060,b

fd00::1,fd00::2,tcp,1,443,b
10.0.0.1,10.9.0.2,icmp,,,b
`;

const NDJSON = `{"dst": "10.1.0.0/16", "connection": "b"}
{"dst": "fd00:1::/32", "connection": "b", "src": null}
{"src": "10.0.0.1", "dst": "10.9.0.1", "proto": "udp", "sport": 1234, "dport": 5060, "connection": "b"}
{"src": "fd00::1/128", "dst": "fd00::2", "proto": 6, "sport": "1", "dport": "443", "connection": "b"}
{"src": "10.0.0.1", "dst": "10.9.0.2", "proto": "icmp", "sport": "", "connection": "b"}
`;

const QUOTED = CSV.replaceAll(/[^,\n#]+(?=[,\n])/g, (field) =>
  field.startsWith(" ") ? field : ` "${field}"\t`,
)
  .replace(/^#.*\n/, "")
  .replaceAll("\n", "\r\n");

for (const [title, name, text] of [
  ["CSV", "flows.csv", CSV],
  ["CSV with quotes, blanks, CRLF and a byte order mark", "flows.csv", `\uFEFF${QUOTED}`],
  ["NDJSON", "flows.ndjson", NDJSON],
] as const) {
  test(`${title}: subnets and exact flows are read into columns`, (t) => {
    const { policy, said } = load(t, { [name]: text });
    t.deepEqual(said, []);
    const { subnets4, subnets6, exact4, exact6 } = policy?.flows ?? {};
    t.deepEqual([subnets4?.words, subnets4?.length], [Uint32Array.of(0x0a010000), Uint8Array.of(16)]);
    t.deepEqual(
      [subnets6?.words, subnets6?.length],
      [Uint32Array.of(0xfd000001, 0, 0, 0), Uint8Array.of(32)],
    );
    t.deepEqual(exact4?.src, Uint32Array.of(0x0a000001, 0x0a000001));
    t.deepEqual(exact4?.dst, Uint32Array.of(0x0a090001, 0x0a090002));
    t.deepEqual(exact4?.proto, Uint8Array.of(17, 1));
    t.deepEqual(exact4?.ports, Uint32Array.of((1234 << 16) | 5060, 0));
    t.deepEqual(exact4?.connection, Uint32Array.of(1, 1));
    t.deepEqual(exact6?.dst, Uint32Array.of(0xfd000000, 0, 0, 2));
    t.deepEqual(exact6?.ports, Uint32Array.of((1 << 16) | 443));
  });
}

test("columns may come in any order, and those that no row needs may be missing", (t) => {
  const { policy, said } = load(t, { "flows.csv": "connection,dst\nb,10.1.0.0/16\n" });
  t.deepEqual(said, []);
  t.is(policy?.flows.subnets4.length.length, 1);
});

test("a row knows its file and line", (t) => {
  const { policy } = load(t, {
    "one.csv": "dst,connection\n10.1.0.0/16,b\n",
    "two.csv": "dst,connection\n\n10.2.0.0/16,b\n",
  });
  const { files, subnets4 } = policy?.flows ?? { files: [] };
  t.deepEqual(
    files.map((file) => path.basename(file)),
    ["one.csv", "two.csv"],
  );
  t.deepEqual([subnets4?.file, subnets4?.line], [Uint8Array.of(0, 1), Uint32Array.of(2, 3)]);
});

test("an exact flow decides before the rules, a subnet of a flow file like any other", (t) => {
  const { policy } = load(t, { "flows.csv": CSV });
  if (policy === null) return t.fail("no policy");
  const connection = (flow: string) => {
    const { by, action } = decide(policy, parseFlow(flow));
    return `${by} ${action.kind === "connection" ? policy.connections[action.connection]?.name : action.kind}`;
  };
  t.is(connection("udp 10.0.0.1:1234 > 10.9.0.1:5060"), "flow b");
  t.is(connection("udp 10.0.0.1:1235 > 10.9.0.1:5060"), "subnet a");
  t.is(connection("udp 10.0.0.1 > 10.9.0.1 fragment later"), "subnet a");
  t.is(connection("icmp 10.0.0.1 > 10.9.0.2 type 8"), "flow b");
  t.is(connection("tcp 10.0.0.1:1 > 10.1.2.3:2"), "subnet b");
  t.is(connection("tcp [fd00::1]:1 > [fd00:1::3]:2"), "subnet b");
  t.true(admitted(policy, 1, parseFlow("tcp 10.1.2.3:1 > 10.0.0.1:2")));
  t.false(admitted(policy, 0, parseFlow("tcp 10.1.2.3:1 > 10.0.0.1:2")));
});

const wrong: readonly (readonly [title: string, name: string, text: string, said: string[]])[] = [
  [
    "an unknown field",
    "f.csv",
    "dst,conection\n10.1.0.0/16,b\nx\n",
    ['f.csv:1:1: error: the header names the field "conection"; did you mean connection?'],
  ],
  [
    "a header without dst",
    "f.csv",
    "connection\nb\n",
    [
      "f.csv:1:1: error: the header has no dst; start the file with the line src,dst,proto,sport,dport,connection or dst,connection",
    ],
  ],
  [
    "a field twice",
    "f.csv",
    "dst,dst,connection\n",
    ["f.csv:1:1: error: the header names dst twice; name each field once"],
  ],
  [
    "too many fields",
    "f.csv",
    "dst,connection\n10.1.0.0/16,b,c\n",
    [
      "f.csv:2:1: error: there are more fields than in the header; write dst,connection; leave a field empty, but keep its comma",
    ],
  ],
  [
    "too few fields",
    "f.csv",
    "dst,connection\n10.1.0.0/16\n",
    [
      "f.csv:2:1: error: there are fewer fields than in the header; write dst,connection; leave a field empty, but keep its comma",
    ],
  ],
  [
    "an address that is none",
    "f.csv",
    "dst,connection\n10.1.0.256,b\n",
    [
      'f.csv:2:1: error: dst: "10.1.0.256" is not an IP address or prefix; write a prefix such as 10.1.0.0/16 or "fd00:1::/48", or a single address',
    ],
  ],
  [
    "bits behind the length",
    "f.csv",
    "dst,connection\n10.1.2.3/16,b\n",
    [
      "f.csv:2:1: error: dst: 10.1.2.3/16 has bits set behind its prefix length; the network is 10.1.0.0/16, the single host is 10.1.2.3/32",
    ],
  ],
  [
    "an unknown connection",
    "f.csv",
    "dst,connection\n10.1.0.0/16,bb\n",
    ['f.csv:2:1: error: connection: "bb" is not a connection; did you mean b?'],
  ],
  [
    "no connection",
    "f.csv",
    "dst,connection\n10.1.0.0/16,\n",
    ["f.csv:2:1: error: connection: there is no connection; name one"],
  ],
  [
    "half a tuple",
    "f.csv",
    "src,dst,proto,connection\n10.0.0.1,10.1.0.1,tcp,b\n",
    [
      "f.csv:2:1: error: this is neither a dst prefix alone nor one whole flow; give dst only, or src, dst, proto and both ports, all of them exact; anything else is a rule",
    ],
  ],
  [
    "a prefix in a tuple",
    "f.csv",
    "src,dst,proto,connection\n10.0.0.0/8,10.1.0.1,icmp,b\n",
    [
      "f.csv:2:1: error: this is neither a dst prefix alone nor one whole flow; give dst only, or src, dst, proto and both ports, all of them exact; anything else is a rule",
    ],
  ],
  [
    "two families",
    "f.csv",
    "src,dst,proto,connection\n10.0.0.1,fd00::1,icmp,b\n",
    ["f.csv:2:1: error: dst: src is IPv4 and dst is IPv6; write two addresses of one family"],
  ],
  [
    "ports of a protocol without",
    "f.csv",
    "src,dst,proto,sport,dport,connection\n10.0.0.1,10.0.0.2,icmp,1,2,b\n",
    ["f.csv:2:1: error: proto: icmp has no ports; leave sport and dport empty"],
  ],
  [
    "a port out of range",
    "f.csv",
    "src,dst,proto,sport,dport,connection\n10.0.0.1,10.0.0.2,udp,1,65536,b\n",
    [
      'f.csv:2:1: error: dport: "65536" is not a port; write a number from 0 to 65535; ranges belong into rules',
    ],
  ],
  [
    "a protocol that is none",
    "f.csv",
    "src,dst,proto,sport,dport,connection\n10.0.0.1,10.0.0.2,upd,1,2,b\n",
    ['f.csv:2:1: error: proto: "upd" is not a protocol; did you mean udp?'],
  ],
  [
    "a subnet twice",
    "f.csv",
    "dst,connection\n10.1.0.0/16,b\n10.2.0.0/16,b\n10.1.0.0/16,a\n",
    ["f.csv:4:1: error: 10.1.0.0/16 is there already (line 2); keep one of them"],
  ],
  [
    "a subnet that a connection has",
    "f.csv",
    "dst,connection\nfd00::/16,b\n",
    ["f.csv:2:1: error: fd00::/16, a subnet of a, is there already (steer.yaml:3); keep one of them"],
  ],
  [
    "a flow twice",
    "f.csv",
    "src,dst,proto,connection\n10.0.0.1,10.0.0.2,icmp,a\n10.0.0.1,10.0.0.2,1,b\n",
    ["f.csv:3:1: error: this flow is there already (line 2); keep one of them"],
  ],
  [
    "no JSON",
    "f.ndjson",
    "{\n",
    [
      'f.ndjson:1:1: error: this is not JSON; write one object a line, such as {"dst": "10.1.0.0/16", "connection": "branch-a"}',
    ],
  ],
  [
    "JSON that is no object",
    "f.jsonl",
    '["a"]\n',
    [
      'f.jsonl:1:1: error: this is a list; write an object such as {"dst": "10.1.0.0/16", "connection": "branch-a"}',
    ],
  ],
  [
    "an unknown JSON field",
    "f.jsonl",
    '{"dts": "10.1.0.0/16"}\n',
    ['f.jsonl:1:1: error: unknown field "dts"; did you mean dst?'],
  ],
  [
    "a name that tells no format",
    "f.txt",
    "",
    [
      "steer.yaml:5:9: error: f.txt is neither CSV nor NDJSON by its name; name it FILE.csv, FILE.ndjson or FILE.jsonl",
    ],
  ],
];

for (const [title, name, text, said] of wrong) {
  test(`flows: ${title} is reported with its line`, (t) => {
    const result = load(t, { [name]: text });
    t.is(result.policy, null);
    t.deepEqual(result.said, said);
  });
}

test("flows: an IPv6 extension header is no flow's protocol", (t) => {
  const { said } = load(t, {
    "f.csv":
      "src,dst,proto,connection\nfd00::1,fd00::2,ah,b\n10.0.0.1,10.0.0.2,ah,b\nfd00::1,fd00::2,esp,b\n",
  });
  t.deepEqual(said, [
    "f.csv:2:1: error: proto: ah over IPv6 is an extension header, which is walked over; write the protocol behind it",
  ]);
});

test("a flow file that is not there is reported where it is named", (t) => {
  t.deepEqual(load(t, {}, ["none.csv"]).said, [
    "steer.yaml:5:9: error: none.csv does not exist; check the path",
  ]);
});

test("a flow file without rows is worth a warning", (t) => {
  const { policy, said } = load(t, { "f.csv": "dst,connection\n" });
  t.not(policy, null);
  t.deepEqual(said, ["steer.yaml:5:9: warning: f.csv has no flows; add some, or take its name out"]);
});

test("of many wrong lines the first are shown and the rest are counted", (t) => {
  const { said } = load(t, { "f.csv": `dst,connection\n${"x,b\n".repeat(1000)}` });
  t.is(said.length, 21);
  t.regex(said[0] ?? "", /^steer\.yaml:5:9: error: 980 more lines of f\.csv are wrong/);
  t.regex(said[20] ?? "", /^f\.csv:21:1: /);
});

test("of many rows that are there already the first are shown and the rest are counted", (t) => {
  const subnets = Array.from({ length: 30 }, (_, i) => `10.${i}.0.0/16,b\n`).join("");
  const { said } = load(
    t,
    {
      "f.csv": `dst,connection\n${subnets}${subnets}`,
      "g.csv": `dst,connection\n${"10.99.0.0/16,b\n".repeat(3)}`,
    },
    ["f.csv", "g.csv"],
  );
  t.deepEqual(
    said.filter((line) => line.startsWith("steer.yaml")).map((line) => line.replace(/^[^ ]*/, "")),
    [" error: 10 more lines of f.csv are wrong; see above"],
  );
  t.is(said.filter((line) => line.startsWith("f.csv")).length, 20);
  t.is(said.filter((line) => line.startsWith("g.csv")).length, 2, "the bound is each file's own");
});

test("a line of a megabyte is one error, and the lines behind it are read", (t) => {
  const long = "x".repeat(2_500_000);
  const { said } = load(t, {
    "f.csv": `dst,connection\n10.1.0.0/16,b\n${long}\n10.2.0.0/16,b\n10.1.0.0/16,b`,
  });
  t.deepEqual(said, [
    "f.csv:3:1: error: the line is longer than 4096 bytes; write one flow a line",
    "f.csv:5:1: error: 10.1.0.0/16 is there already (line 2); keep one of them",
  ]);
});

/** Loads a policy in a process of its own and prints what came of it, and the most memory that it took. */
const CHILD = `
  const { loadPolicy } = await import(process.argv[1]);
  const { policy, diagnostics } = loadPolicy(process.argv[2]);
  console.log(JSON.stringify({
    rows: policy?.flows.subnets4.length.length ?? null,
    diagnostics: diagnostics.map(({ line, message }) => [line, message]),
    megabytes: process.resourceUsage().maxRSS / 1024,
  }));
`;

test("a million lines with one bad line: one diagnostic with its number, nothing loaded, at most 300 MB", (t) => {
  const folder = folderWith(t, { "steer.yaml": `${HEAD}flows: flows.csv\n` });
  const fd = openSync(path.join(folder, "flows.csv"), "w");
  const LINES = 1_000_000;
  const BAD = 712_345;
  writeSync(fd, "dst,connection\n");
  for (let from = 2; from <= LINES; from += 1000) {
    const lines = Array.from({ length: Math.min(1000, LINES + 1 - from) }, (_, i) => {
      const line = from + i;
      const octets = `${line >>> 16}.${(line >>> 8) & 255}.${line & 255}`;
      return line === BAD ? `11.${octets}.300,b\n` : `11.${octets}/32,b\n`;
    });
    writeSync(fd, lines.join(""));
  }
  closeSync(fd);
  const { stdout, stderr } = spawnSync(
    process.execPath,
    [
      "--input-type=module",
      "-e",
      CHILD,
      path.resolve("dist/src/config/index.js"),
      path.join(folder, "steer.yaml"),
    ],
    { encoding: "utf8" },
  );
  t.is(stderr, "");
  const { rows, diagnostics, megabytes } = JSON.parse(stdout);
  t.is(rows, null);
  t.is(diagnostics.length, 1);
  t.is(diagnostics[0][0], BAD);
  t.true(megabytes < 300, `${megabytes} MB`);
});
