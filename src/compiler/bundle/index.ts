import { createHash } from "node:crypto";
import type { Policy } from "../../config/policy.js";
import { fromWire } from "./decode.js";
import { toWire } from "./encode.js";
import { decodeMessage, encodeMessage } from "./wire.js";

const MAGIC = "xfrm-steer bundle";
/** First bytes of every bundle: field 1, and the length of MAGIC. */
const START = Buffer.from([0x0a, MAGIC.length, ...Buffer.from(MAGIC)]);
const FORMAT = 1;

/** A bundle that cannot be read; the message says why, and what to do. */
export class BundleError extends Error {
  override readonly name = "BundleError";
}

/** Serialises a policy (schemas/steering.proto). The same policy gives the same bytes. */
export function encodeBundle(policy: Policy): Uint8Array {
  const bytes = encodeMessage("Policy", toWire(policy));
  return encodeMessage("Bundle", { magic: MAGIC, format: FORMAT, policy: bytes, sha256: digest(bytes) });
}

/** Whether a file that starts with these bytes is a bundle, and not YAML. */
export function isBundle(bytes: Uint8Array): boolean {
  return START.equals(bytes.subarray(0, START.length));
}

/** Reads what `encodeBundle` wrote. @throws BundleError */
export function decodeBundle(bytes: Uint8Array): Policy {
  if (!isBundle(bytes)) throw new BundleError("this is not a bundle; make one with `xfrm-steer compile`");
  const { format, policy, sha256 } = decoded(() => decodeMessage("Bundle", bytes));
  if (format !== FORMAT)
    throw new BundleError(
      `the bundle has format ${format}, and this release reads ${FORMAT}; compile it with this release`,
    );
  if (!digest(policy).equals(sha256)) throw damaged("its checksum does not match");
  return decoded(() => fromWire(decodeMessage("Policy", policy)));
}

function decoded<T>(read: () => T): T {
  try {
    return read();
  } catch (cause) {
    // What protobufjs throws has no type of its own.
    throw damaged((cause as Error).message);
  }
}

function damaged(why: string): BundleError {
  return new BundleError(`the bundle is damaged (${why}); copy or compile it again`);
}

function digest(bytes: Uint8Array): Buffer {
  return createHash("sha256").update(bytes).digest();
}
