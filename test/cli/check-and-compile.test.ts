import { existsSync, readdirSync } from "node:fs";
import path from "node:path";
import test from "ava";
import { xfrmSteer } from "../support/cli.js";
import { folderWith } from "../support/folder.js";

const TYPO =
  "version: 1\nconnections:\n  site-a: {if_id: 1, subnets: [10.1.2.3/16]}\nrules:\n  - {to: site-b}\n";

test("check --fix-it shows each line as it should be, and writes nothing", async (t) => {
  const folder = folderWith(t, { "steer.yaml": TYPO });
  const file = path.join(folder, "steer.yaml");
  const { code, stdout } = await xfrmSteer("check", "--fix-it", file);
  t.is(code, 2);
  t.deepEqual(
    stdout.split("\n").filter((line) => /^ {2}[-+] /.test(line)),
    [
      "  -   site-a: {if_id: 1, subnets: [10.1.2.3/16]}",
      "  +   site-a: {if_id: 1, subnets: [10.1.0.0/16]}",
      "  -   - {to: site-b}",
      "  +   - {to: site-a}",
    ],
  );
  t.deepEqual(readdirSync(folder), ["steer.yaml"]);
  t.notRegex((await xfrmSteer("check", file)).stdout, /^ {2}[-+] /m);
});

const ICMP = `version: 1
connections: {icmp-gw: {if_id: 1}}
rules:
  - {match: {proto: 1, dst: "fd00::/8"}, to: icmp-gw}
  - {match: {proto: "icmp", dst: "fd00::/8"}, to: icmp-gw}
  - {match: {proto: ["ICMP"], dst: "fd00::/8"}, to: icmp-gw}
  - {match: {proto: 0x1, dst: "fd00::/8"}, to: icmp-gw}
`;

test("check --fix-it replaces what is written at the mistake's place, and nothing behind it", async (t) => {
  const folder = folderWith(t, { "steer.yaml": ICMP });
  const { stdout } = await xfrmSteer("check", "--fix-it", path.join(folder, "steer.yaml"));
  t.deepEqual(
    stdout.split("\n").filter((line) => /^ {2}\+ /.test(line)),
    [
      '  +   - {match: {proto: ipv6-icmp, dst: "fd00::/8"}, to: icmp-gw}',
      '  +   - {match: {proto: "ipv6-icmp", dst: "fd00::/8"}, to: icmp-gw}',
      '  +   - {match: {proto: ["ipv6-icmp"], dst: "fd00::/8"}, to: icmp-gw}',
    ],
  );
});

test("check warns of what is legal and hardly meant, and ends with 0", async (t) => {
  const folder = folderWith(t, { "steer.yaml": "version: 1\nconnections:\n  spare: {if_id: 9}\n" });
  const { code, stdout } = await xfrmSteer("check", path.join(folder, "steer.yaml"));
  t.is(code, 0);
  t.regex(stdout, /steer\.yaml:3:3: warning: if_id 9 of spare is never used/);
});

test("compile writes a bundle that check and explain take, without the files it came from", async (t) => {
  const folder = folderWith(t, {
    "steer.yaml": "version: 1\nconnections: {a: {if_id: 1}}\nflows: flows.csv\n",
    "flows.csv": "dst,connection\n10.7.0.0/16,a\n",
    "elsewhere/keep": "",
  });
  const bundle = path.join(folder, "elsewhere", "steer.bundle");
  const compiled = await xfrmSteer("compile", path.join(folder, "steer.yaml"), "-o", bundle, "--json");
  t.is(compiled.code, 0, compiled.stderr);
  t.true(JSON.parse(compiled.stdout).bytes > 0);
  const checked = await xfrmSteer("check", bundle);
  t.is(checked.stdout, `${bundle}: ok, 1 connections, 0 rules, 1 flows\n`);
  const { stdout } = await xfrmSteer("explain", bundle, "icmp 10.0.0.1 > 10.7.0.1");
  t.regex(stdout, /goes to connection a \(if_id 1\): .*10\.7\.0\.0\/16 is the longest subnet/);
});

test("compile of a policy with an error writes nothing and ends with 2", async (t) => {
  const folder = folderWith(t, { "steer.yaml": TYPO });
  const bundle = path.join(folder, "steer.bundle");
  const { code, stderr } = await xfrmSteer("compile", path.join(folder, "steer.yaml"), "-o", bundle);
  t.is(code, 2);
  t.regex(stderr, /steer\.yaml:5:10: error: there is no connection "site-b"; did you mean site-a\?/);
  t.false(existsSync(bundle));
});

test("compile says what is wrong where the bundle cannot be written", async (t) => {
  const { code, stderr } = await xfrmSteer(
    "compile",
    "examples/minimal/steer.yaml",
    "-o",
    "/nowhere/steer.bundle",
  );
  t.is(code, 1);
  t.is(
    stderr,
    "xfrm-steer: /nowhere/steer.bundle cannot be written (ENOENT); name a file in a folder that is there and yours\n",
  );
});

const ODD = `{not: [${Array.from({ length: 131 }, (_, i) => 2 * i + 1).join(", ")}]}`;
/** 132 ranges of ports on either side are left. */
const TOO_BIG = `version: 1
connections: {a: {if_id: 1, subnets: [0.0.0.0/0, "::/0"]}}
rules:
  - {match: {proto: tcp}, to: a}
  - name: big
    match: {proto: udp, sport: ${ODD}, dport: ${ODD}}
    to: a
`;
const MISFIT =
  "error: rule big: its lists and negations have 17424 combinations; at most 16384 are compiled; split it";

test("a rule that does not fit the tables is an error of its file; check goes on with the others", async (t) => {
  const folder = folderWith(t, { "big.yaml": TOO_BIG, "typo.yaml": TYPO });
  const [big, typo] = [path.join(folder, "big.yaml"), path.join(folder, "typo.yaml")];
  const files = [big, typo, "examples/minimal/steer.yaml"];
  const { code, stdout } = await xfrmSteer("check", ...files);
  t.is(code, 2);
  const [first, ...more] = stdout.split("\n");
  t.is(first, `${big}:5:5: ${MISFIT}`);
  t.true(more.some((line) => line.startsWith(`${typo}:3:`)));
  t.regex(more.join("\n"), /minimal\/steer\.yaml: ok/);
  const results = JSON.parse((await xfrmSteer("check", "--json", ...files)).stdout);
  t.deepEqual(
    results.map(({ ok }: { ok: boolean }) => ok),
    [false, false, true],
  );
  t.like(results[0].diagnostics[0], { file: big, line: 5, column: 5, severity: "error" });
});

test("compile and plan name the place of a rule that does not fit the tables", async (t) => {
  const big = path.join(folderWith(t, { "big.yaml": TOO_BIG }), "big.yaml");
  for (const args of [
    ["compile", big, "-o", `${big}.bundle`],
    ...(process.geteuid?.() === 0 ? [["plan", big]] : []),
  ]) {
    const { code, stderr } = await xfrmSteer(...args);
    t.is(code, 2);
    t.is(stderr, `${big}:5:5: ${MISFIT}\n`);
  }
  t.false(existsSync(`${big}.bundle`));
});

test("compile to a folder leaves nothing behind", async (t) => {
  const folder = folderWith(t, { "out/keep": "" });
  const { code, stderr } = await xfrmSteer(
    "compile",
    "examples/minimal/steer.yaml",
    "-o",
    path.join(folder, "out"),
  );
  t.is(code, 1);
  t.regex(stderr, /out cannot be written \(EISDIR\)/);
  t.deepEqual(readdirSync(folder), ["out"]);
});
