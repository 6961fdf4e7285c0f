import { closeSync, constants, fstatSync, openSync, readSync } from "node:fs";
import { keymatParts, keymatSize, type SuiteName } from "../esp/suite.js";
import type { Diagnostic } from "./diagnostics.js";
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
 * belongs to us or to root. Returns the keying material in a buffer of its own, which the caller should clear after use.
 * @throws KeyError
 */
export function readKey(source: KeySource, suite: SuiteName): Buffer {
  const text =
    source.kind === "file"
      ? readKeyFile(source, source.path)
      : Buffer.from(process.env[source.name] ?? "", "latin1");
  try {
    if (source.kind === "env" && process.env[source.name] === undefined) {
      throw new KeyError(
        source,
        `the environment variable ${source.name} is not set`,
        "set it to the key in hexadecimal",
      );
    }
    return decodeHex(source, text, suite);
  } finally {
    text.fill(0);
  }
}

/** The outbound SA of a connection, the inbound one, and those that are valid besides. */
export const allSas = ({
  out,
  in: inbound,
  alsoIn,
}: EspConfig): readonly [SaConfig, SaConfig, ...SaConfig[]] => [out, inbound, ...alsoIn];

/** Opens every key of a policy and reports what is wrong, also one key behind two sources. */
export function checkKeys(policy: Policy): Diagnostic[] {
  const diagnostics: Diagnostic[] = [];
  const known: { key: Buffer; source: KeySource }[] = [];
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
  for (const { key } of known) key.fill(0);
  return diagnostics;
}

function readKeyFile(source: KeySource, path: string): Buffer {
  const fail = (message: string, hint: string): never => {
    throw new KeyError(source, `key file ${path} ${message}`, hint);
  };
  let fd: number;
  try {
    // O_NONBLOCK: a FIFO would otherwise wait for a writer.
    fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  } catch (cause) {
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
    const bytes = Buffer.alloc(MAX_FILE_BYTES + 1);
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
  const digits = text.toString("latin1").replace(/\s+/g, "");
  if (!/^[0-9a-f]*$/i.test(digits))
    throw new KeyError(source, `${name(source)} holds something else than hexadecimal digits`, right);
  if (digits.length !== 2 * bytes)
    throw new KeyError(source, `${name(source)} holds ${digits.length} hexadecimal digits`, right);
  // alloc, as Buffer.from() takes its memory from a pool that other buffers share.
  const key = Buffer.alloc(bytes);
  key.write(digits, "hex");
  return key;
}

function name(source: KeySource): string {
  return source.kind === "file" ? `key file ${source.path}` : `the environment variable ${source.name}`;
}
