/** Root may be told to read a path that leads to anything: no device is opened, nothing is waited for, nothing is quoted. */
import { execFileSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { truncateSync } from "node:fs";
import path from "node:path";
import test, { type ExecutionContext } from "ava";
import { formatDiagnostic, loadPolicy } from "../../src/config/index.js";
import { loadProfile } from "../../src/simulator/profile.js";
import { xfrmSteer } from "../support/cli.js";
import { folderWith } from "../support/folder.js";

const said = (file: string): string => loadPolicy(file).diagnostics.map(formatDiagnostic).join("\n");

/** A policy that names a file, and that file. */
const naming = (t: ExecutionContext, key: "include" | "flows", named: string) =>
  path.join(
    folderWith(t, {
      "steer.yaml": `version: 1\n${key}: [${named}]\nconnections: {a: {if_id: 1}}\n`,
    }),
    "steer.yaml",
  );

const SECRET = randomBytes(12).toString("base64url");

const secrets: readonly (readonly [what: string, text: string])[] = [
  ["/etc/shadow", `root:${SECRET}:20228:0:99999:7::\ndaemon:${SECRET}:20228:0:99999:7::\n`],
  ["/etc/shadow with keys of YAML", `root:*:20228:0:99999:7::\n${SECRET}:!:20228:::::\nx: 1\n`],
  ["plain text", `${SECRET} and more\n`],
  ["a list", `- ${SECRET}\n`],
  ["an alias", `a: *${SECRET}\n`],
  ["a key that is there twice", `${SECRET}: 1\n${SECRET}: 2\n`],
  ["a mapping of another kind", `password: ${SECRET}\n${SECRET}: x\n`],
  ["broken YAML", `"${SECRET}\n\t- [${SECRET}: {\n`],
  ["a private key", `-----BEGIN PRIVATE KEY-----\n${SECRET}\n-----END PRIVATE KEY-----\n`],
];
for (const [what, text] of secrets) {
  test(`nothing of a file that is no policy is quoted: ${what}`, async (t) => {
    const file = path.join(folderWith(t, { secret: text }), "secret");
    for (const words of [said(file), said(naming(t, "include", file))]) {
      t.regex(words, /secret:1:1: error: .*not a policy/);
      t.false(words.includes(SECRET), words);
    }
    const { code, stdout, stderr } = await xfrmSteer("check", file);
    t.is(code, 2);
    t.false(`${stdout}${stderr}`.includes(SECRET));
    const error = t.throws(() => loadProfile(file.replace("secret", "./secret")));
    t.false(error?.message.includes(SECRET), error?.message);
  });
}

for (const [name, text] of [
  ["x.csv", `root:${SECRET}:20228:0:99999:7::\n`],
  ["x.csv", `${SECRET},${SECRET}\n`],
  ["x.ndjson", `root:${SECRET}:20228\n`],
  ["x.ndjson", `"${SECRET}"\n`],
  ["x.ndjson", `{"${SECRET}": 1}\n`],
] as const) {
  test(`nothing of a file that is no flow file is quoted: ${name} ${text.slice(0, 2)}`, (t) => {
    const file = path.join(folderWith(t, { [name]: text }), name);
    const words = said(naming(t, "flows", file));
    t.regex(words, /x\.(csv|ndjson):1:1: error: /);
    t.false(words.includes(SECRET), words);
  });
}

test("a FIFO, a device and a folder are refused at once: as FILE, include and flows", (t) => {
  const folder = folderWith(t, {});
  const fifo = path.join(folder, "fifo.csv");
  execFileSync("mkfifo", [fifo]);
  for (const [file, kind] of [
    [fifo, "is a FIFO"],
    ["/dev/zero", "is a device"],
    [folder, "is a directory"],
  ] as const) {
    t.true(said(file).includes(kind), `FILE: ${said(file)}`);
    t.true(said(naming(t, "include", file)).includes(`${file} ${kind}`), said(naming(t, "include", file)));
  }
  t.true(said(naming(t, "flows", fifo)).includes(`${fifo} is a FIFO; name a regular file`));
});

test("a file larger than any policy is refused before it is read", (t) => {
  const folder = folderWith(t, { "big.yaml": "version: 1\n", "big.csv": "dst,connection\n" });
  truncateSync(path.join(folder, "big.yaml"), 300 << 20);
  truncateSync(path.join(folder, "big.csv"), 5 * 2 ** 30);
  const yaml = path.join(folder, "big.yaml");
  t.regex(said(yaml), /is larger than 256 MiB/);
  t.regex(said(naming(t, "include", yaml)), /big\.yaml is larger than 256 MiB/);
  t.regex(said(naming(t, "flows", path.join(folder, "big.csv"))), /big\.csv is larger than 4096 MiB/);
});
