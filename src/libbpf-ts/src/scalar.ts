import type { Btf, BtfVariable } from "./btf.js";
import { ArgumentError } from "./errors.js";

export type Scalar = number | bigint | boolean;

/** Width and sign of a C integer, bool or enum; undefined for any other type. */
function integer(btf: Btf, typeId: number): { size: number; signed: boolean; bool: boolean } | undefined {
  const type = btf.resolve(typeId);
  if (type.kind === "int") return type;
  if (type.kind === "enum") return { size: type.size, signed: type.signed, bool: false };
  return undefined;
}

/** Bytes of a scalar in the host's (little-endian) order. @throws ArgumentError where it does not fit the type */
export function encodeScalar(btf: Btf, variable: BtfVariable, value: Scalar, op: string): Uint8Array {
  const type = integer(btf, variable.typeId);
  if (type === undefined) {
    throw new ArgumentError(op, `a ${typeof value} for ${variable.type}`, `give its ${variable.size} bytes`);
  }
  if (typeof value === "number" && !Number.isSafeInteger(value)) {
    throw new ArgumentError(
      op,
      `${value} is not a whole number that JavaScript holds exactly`,
      "give a bigint",
    );
  }
  const bits = type.size * 8;
  const whole = BigInt(value);
  const wrapped = type.signed ? BigInt.asIntN(bits, whole) : BigInt.asUintN(bits, whole);
  if (wrapped !== whole || (type.bool && whole > 1n)) {
    throw new ArgumentError(op, `${value} does not fit ${variable.type}`);
  }
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(BigInt.asUintN(64, whole));
  return bytes.subarray(0, type.size);
}

/** The scalar in a variable's bytes, or undefined where its type is none. */
export function decodeScalar(btf: Btf, variable: BtfVariable, bytes: Buffer): Scalar | undefined {
  const type = integer(btf, variable.typeId);
  if (type === undefined || type.size > 8) return undefined;
  if (type.bool) return bytes[0] !== 0;
  if (type.size === 8) return type.signed ? bytes.readBigInt64LE() : bytes.readBigUInt64LE();
  return type.signed ? bytes.readIntLE(0, type.size) : bytes.readUIntLE(0, type.size);
}
