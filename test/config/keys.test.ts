import { randomBytes } from "node:crypto";
import {
  chmodSync,
  chownSync,
  lchownSync,
  mkdirSync,
  mkdtempSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import test, { type ExecutionContext } from "ava";
import {
  checkKeys,
  formatDiagnostic,
  KeyError,
  type KeySource,
  parsePolicy,
  readKey,
} from "../../src/config/index.js";

const DIGITS = "0123456789abcdef".repeat(5);
const asRoot = process.geteuid?.() === 0 ? test : test.skip;
const HINT_128 = "aes128-gcm takes 40 hexadecimal digits: a 16-byte key and 4 bytes of salt";

function folderOf(t: ExecutionContext): string {
  const folder = mkdtempSync(path.join(tmpdir(), "steer-keys-"));
  t.teardown(() => rmSync(folder, { recursive: true }));
  return folder;
}

function fileSource(file: string): KeySource {
  return { kind: "file", path: file, location: { file: "steer.yaml", line: 1, column: 1 } };
}

function keyFile(folder: string, content: string | Buffer, mode = 0o600): KeySource {
  const file = path.join(folder, "k.key");
  writeFileSync(file, content);
  chmodSync(file, mode);
  return fileSource(file);
}

test("a key file of mode 0600 or 0400 is read, white space and case apart", (t) => {
  const key = randomBytes(20);
  const text = key.toString("hex").toUpperCase();
  for (const mode of [0o600, 0o400]) {
    const source = keyFile(folderOf(t), ` ${text.slice(0, 10)} \t${text.slice(10)}\r\n\n`, mode);
    t.deepEqual(readKey(source, "aes128-gcm"), key);
  }
});

test("aes256-gcm takes 36 bytes", (t) => {
  const key = randomBytes(36);
  t.deepEqual(readKey(keyFile(folderOf(t), key.toString("hex")), "aes256-gcm"), key);
});

test("a symbolic link to a private file is followed", (t) => {
  const folder = folderOf(t);
  const key = randomBytes(20);
  keyFile(folder, key.toString("hex"));
  symlinkSync(path.join(folder, "k.key"), path.join(folder, "link"));
  t.deepEqual(readKey(fileSource(path.join(folder, "link")), "aes128-gcm"), key);
});

asRoot("a link that another user made, or could exchange, is refused (needs root)", (t) => {
  const folder = folderOf(t);
  keyFile(folder, DIGITS.slice(0, 40));
  const link = path.join(folder, "link");
  symlinkSync(path.join(folder, "k.key"), link);
  lchownSync(link, 65534, 65534);
  t.throws(() => readKey(fileSource(link), "aes128-gcm"), {
    message: /link is reached by a link of another's: .*link belongs to user 65534$/,
  });
  lchownSync(link, 0, 0);
  t.notThrows(() => readKey(fileSource(link), "aes128-gcm"));
  chownSync(folder, 65534, 65534);
  t.throws(() => readKey(fileSource(link), "aes128-gcm"), {
    message: /another's: .* belongs to user 65534$/,
  });
  t.notThrows(
    () => readKey(fileSource(path.join(folder, "k.key")), "aes128-gcm"),
    "no link: the file itself is looked at",
  );
});

test("the key buffer shares no memory with other buffers", (t) => {
  const key = readKey(keyFile(folderOf(t), randomBytes(20).toString("hex")), "aes128-gcm");
  t.is(key.buffer.byteLength, 20);
});

const badFiles: readonly (readonly [
  title: string,
  content: string,
  mode: number,
  message: RegExp,
  hint: string,
])[] = [
  [
    "readable by the world",
    DIGITS.slice(0, 40),
    0o644,
    /has mode 0644$/,
    "only its owner may read it: chmod 0600",
  ],
  [
    "readable by the group",
    DIGITS.slice(0, 40),
    0o640,
    /has mode 0640$/,
    "only its owner may read it: chmod 0600",
  ],
  ["executable", DIGITS.slice(0, 40), 0o700, /has mode 0700$/, "only its owner may read it: chmod 0600"],
  ["empty", "", 0o600, /holds 0 hexadecimal digits$/, HINT_128],
  ["a digit short", DIGITS.slice(0, 39), 0o600, /holds 39 hexadecimal digits$/, HINT_128],
  ["without salt", DIGITS.slice(0, 32), 0o600, /holds 32 hexadecimal digits$/, HINT_128],
  ["of the other suite", DIGITS.slice(0, 72), 0o600, /holds 72 hexadecimal digits$/, HINT_128],
  [
    "not hexadecimal",
    `${DIGITS.slice(0, 39)}g`,
    0o600,
    /holds something else than hexadecimal digits$/,
    HINT_128,
  ],
  [
    "far too long",
    DIGITS.repeat(20),
    0o600,
    /is too long for a key$/,
    "put nothing but the key's hexadecimal digits into it",
  ],
];

for (const [title, content, mode, message, hint] of badFiles) {
  test(`a key file that is ${title} is refused without a word of its content`, (t) => {
    const source = keyFile(folderOf(t), content, mode);
    const error = t.throws(() => readKey(source, "aes128-gcm"), { instanceOf: KeyError, message });
    t.is(error?.hint, hint);
    t.false(`${error?.message} ${error?.hint} ${error?.stack}`.includes("0123456789"));
  });
}

test("a missing key file, a folder and a device are refused", (t) => {
  const folder = folderOf(t);
  t.throws(() => readKey(fileSource(path.join(folder, "none")), "aes128-gcm"), {
    message: /does not exist$/,
  });
  mkdirSync(path.join(folder, "dir"), { mode: 0o700 });
  t.throws(() => readKey(fileSource(path.join(folder, "dir")), "aes128-gcm"), {
    message: /is not a regular file$/,
  });
  t.throws(() => readKey(fileSource("/dev/null"), "aes128-gcm"), { message: /is not a regular file$/ });
});

asRoot("a key file of another user is refused (needs root)", (t) => {
  const source = keyFile(folderOf(t), DIGITS.slice(0, 40));
  if (source.kind === "file") chownSync(source.path, 65534, 65534);
  t.throws(() => readKey(source, "aes128-gcm"), { message: /belongs to user 65534$/ });
});

test("a key comes from the environment, and a variable that is not set is refused", (t) => {
  const key = randomBytes(20);
  const location = { file: "steer.yaml", line: 1, column: 1 };
  process.env.STEER_TEST_KEY = key.toString("hex");
  t.teardown(() => delete process.env.STEER_TEST_KEY);
  t.deepEqual(readKey({ kind: "env", name: "STEER_TEST_KEY", location }, "aes128-gcm"), key);
  t.throws(() => readKey({ kind: "env", name: "STEER_TEST_NO_KEY", location }, "aes128-gcm"), {
    message: "the environment variable STEER_TEST_NO_KEY is not set",
  });
});

function policyIn(folder: string, names: readonly [out: string, inbound: string]) {
  const text = `version: 1
connections:
  a:
    if_id: 1
    esp:
      local: 192.0.2.1
      remote: 192.0.2.2
      suite: aes128-gcm
      out: {spi: 0x1001, key: file:keys/${names[0]}}
      in: {spi: 0x1002, key: file:keys/${names[1]}}
`;
  const { policy } = parsePolicy(text, path.join(folder, "steer.yaml"));
  if (policy === null) throw new Error("the policy has errors");
  return policy;
}

test("checkKeys says where each bad key was named, and nothing when all are good", (t) => {
  const folder = folderOf(t);
  mkdirSync(path.join(folder, "keys"));
  for (const name of ["good", "other", "open"]) {
    const file = path.join(folder, "keys", name);
    writeFileSync(file, randomBytes(20).toString("hex"), { mode: 0o600 });
  }
  chmodSync(path.join(folder, "keys/open"), 0o644);
  t.deepEqual(checkKeys(policyIn(folder, ["good", "other"])), []);
  const file = path.join(folder, "steer.yaml");
  t.deepEqual(checkKeys(policyIn(folder, ["open", "none"])).map(formatDiagnostic), [
    `${file}:9:31: error: key file ${folder}/keys/open has mode 0644; only its owner may read it: chmod 0600`,
    `${file}:10:30: error: key file ${folder}/keys/none does not exist; make it with mode 0600; keys are relative to the policy's folder`,
  ]);
});

test("checkKeys finds one key in two files", (t) => {
  const folder = folderOf(t);
  mkdirSync(path.join(folder, "keys"));
  const key = randomBytes(20).toString("hex");
  for (const name of ["x", "y"]) writeFileSync(path.join(folder, "keys", name), key, { mode: 0o600 });
  const [diagnostic, ...rest] = checkKeys(policyIn(folder, ["x", "y"]));
  t.is(rest.length, 0);
  t.is(diagnostic?.line, 10);
  t.regex(diagnostic?.message ?? "", /y holds the same key as key file .*x \(line 9\)$/);
});
