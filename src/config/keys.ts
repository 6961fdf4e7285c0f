import { closeSync, constants, fstatSync, openSync, readSync } from "node:fs";
import { keymatParts, keymatSize, type SuiteName } from "../esp/suite.js";
import { keepMemoryPrivate, readVariable, secretBytes } from "../sys/secrets.js";
import { foreignLink } from "../sys/trusted-path.js";
import type { Diagnostic } from "./diagnostics.js";
import { countDigits, decodeDigits } from "./hex.js";
import type { EspConfig, KeySource, Policy, SaConfig } from "./policy.js";

/** Enough for the longest key with a blank between all digits; what is longer is no key file. */
const MAX_FILE_BYTES = 1024;

/** A key that cannot be used. Neither message nor hint holds key material. */
export class KeyError extends Error {
  override readonly name = "KeyError";
  readonly source: KeySource;
  readonly hint: string;

  constructor(source: KeySource, message: string, hint: string) {
    super(message);
    this.source = source;
    this.hint = hint;
  }
}

/**
 * Opens a key source: hexadecimal digits, white space allowed. A file must be a regular one of mode 0600 or 0400 that
 * belongs to us or to root, and no symbolic link of another user's may lead to it. From then on this process is not dumped. Returns the keying material in a buffer of its own, which the caller should clear after use.
 * @throws KeyError
 */
export function readKey(source: KeySource, suite: SuiteName): Buffer {
  keepMemoryPrivate();
  const text =
    source.kind === "file" ? readKeyFile(source, source.path) : readKeyVariable(source, source.name);
  try {
    return decodeHex(source, text, suite);
  } finally {
    text.fill(0);
  }
}

function readKeyVariable(source: KeySource, name: string): Buffer {
  const text = readVariable(name);
  if (text === null)
    throw new KeyError(
      source,
      `the environment variable ${name} is not set`,
      "set it to the key in hexadecimal",
    );
  return text;
}

/** The outbound SA of a connection, the inbound one, and those that are valid besides. */
export const allSas = ({
  out,
  in: inbound,
  alsoIn,
}: EspConfig): readonly [SaConfig, SaConfig, ...SaConfig[]] => [out, inbound, ...alsoIn];

/** Names of the environment variables that a policy's keys are in. */
export function keyVariables(policy: Policy): string[] {
  return policy.connections.flatMap(({ esp }) =>
    (esp ? allSas(esp) : []).flatMap(({ key }) => (key.kind === "env" ? [key.name] : [])),
  );
}

/** Opens every key of a policy and reports what is wrong, also one key behind two sources. */
export function checkKeys(policy: Policy): Diagnostic[] {
  const diagnostics: Diagnostic[] = [];
  const known: { key: Buffer; source: KeySource }[] = [];
  try {
    findBadKeys(policy, known, diagnostics);
  } finally {
    for (const { key } of known) key.fill(0);
  }
  return diagnostics;
}

function findBadKeys(
  policy: Policy,
  known: { key: Buffer; source: KeySource }[],
  diagnostics: Diagnostic[],
): void {
  for (const esp of policy.connections.flatMap((connection) => connection.esp ?? [])) {
    for (const sa of allSas(esp)) {
      try {
        const key = readKey(sa.key, esp.suite);
        const same = known.find((other) => other.key.equals(key));
        known.push({ key, source: sa.key });
        if (same !== undefined) {
          throw new KeyError(
            sa.key,
            `${name(sa.key)} holds the same key as ${name(same.source)} (line ${same.source.location.line})`,
            "give each SA its own key: two SAs with one key repeat nonces (RFC 4106 section 3.1)",
          );
        }
      } catch (error) {
        if (!(error instanceof KeyError)) throw error;
        diagnostics.push({
          ...error.source.location,
          severity: "error",
          message: error.message,
          hint: error.hint,
        });
      }
    }
  }
}

function readKeyFile(source: KeySource, path: string): Buffer {
  const fail = (message: string, hint: string): never => {
    throw new KeyError(source, `key file ${path} ${message}`, hint);
  };
  let fd: number;
  try {
    const link = foreignLink(path);
    if (link !== null) return fail(`is reached by a link of another's: ${link}`, "name the file itself");
    // O_NONBLOCK: a FIFO would otherwise wait for a writer.
    fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  } catch (cause) {
    if (cause instanceof KeyError) throw cause;
    const { code } = cause as NodeJS.ErrnoException;
    if (code === "ENOENT")
      return fail("does not exist", "make it with mode 0600; keys are relative to the policy's folder");
    return fail(`cannot be opened (${code})`, "make it readable for the user that runs xfrm-steer");
  }
  try {
    const { mode, uid } = fstatSync(fd);
    if ((mode & constants.S_IFMT) !== constants.S_IFREG)
      fail("is not a regular file", "put the key into a regular file");
    const permissions = mode & 0o7777;
    if (permissions !== 0o600 && permissions !== 0o400) {
      fail(`has mode ${permissions.toString(8).padStart(4, "0")}`, "only its owner may read it: chmod 0600");
    }
    if (uid !== 0 && uid !== process.geteuid?.())
      fail(`belongs to user ${uid}`, "it has to belong to root or to the user that runs xfrm-steer");
    const bytes = secretBytes(MAX_FILE_BYTES + 1);
    const length = readSync(fd, bytes, 0, bytes.length, 0);
    if (length > MAX_FILE_BYTES) {
      bytes.fill(0);
      fail("is too long for a key", "put nothing but the key's hexadecimal digits into it");
    }
    return bytes.subarray(0, length);
  } finally {
    closeSync(fd);
  }
}

function decodeHex(source: KeySource, text: Buffer, suite: SuiteName): Buffer {
  const bytes = keymatSize(suite);
  const right = `${suite} takes ${2 * bytes} hexadecimal digits: ${keymatParts(suite)}`;
  const digits = countDigits(text);
  if (digits < 0)
    throw new KeyError(source, `${name(source)} holds something else than hexadecimal digits`, right);
  if (digits !== 2 * bytes)
    throw new KeyError(source, `${name(source)} holds ${digits} hexadecimal digits`, right);
  const key = secretBytes(bytes);
  decodeDigits(text, key);
  return key;
}

function name(source: KeySource): string {
  return source.kind === "file" ? `key file ${source.path}` : `the environment variable ${source.name}`;
}
