import { ArgumentError } from "../errors.js";
import type { Coder } from "./coder.js";
import type { TypeModel } from "./model.js";

export type IntegerModel = Extract<TypeModel, { kind: "int" }>;

/** The error for a value that a type does not take. */
export function refuse(path: string, value: unknown, wanted: string): ArgumentError {
  const found = ArrayBuffer.isView(value)
    ? `${value.byteLength} bytes`
    : typeof value === "object"
      ? "an object"
      : `${value}`;
  return new ArgumentError(`encode ${path}`, found, `give ${wanted}`);
}

const nameOf = ({ size, signed }: IntegerModel): string =>
  `${size > 4 ? "a bigint" : "a whole number"} that fits ${signed ? "s" : "u"}${size * 8}`;

/** Integers of 1, 2 and 4 bytes are numbers. */
function smallCoder(type: IntegerModel): Coder {
  const { size, signed } = type;
  const little = type.order === "little";
  const min = signed ? -(2 ** (size * 8 - 1)) : 0;
  const max = signed ? 2 ** (size * 8 - 1) - 1 : 2 ** (size * 8) - 1;
  const read: Coder["read"] =
    size === 4
      ? signed
        ? (view, at) => view.getInt32(at, little)
        : (view, at) => view.getUint32(at, little)
      : size === 2
        ? signed
          ? (view, at) => view.getInt16(at, little)
          : (view, at) => view.getUint16(at, little)
        : signed
          ? (view, at) => view.getInt8(at)
          : (view, at) => view.getUint8(at);
  return {
    read,
    write(view, at, value, path) {
      if (typeof value !== "number" || !Number.isInteger(value) || value < min || value > max)
        throw refuse(path, value, nameOf(type));
      // Storing an unsigned value keeps the bits of a negative one.
      if (size === 4) view.setUint32(at, value, little);
      else if (size === 2) view.setUint16(at, value, little);
      else view.setUint8(at, value);
    },
  };
}

/** Integers of 8 and 16 bytes are bigints. */
function largeCoder(type: IntegerModel): Coder {
  const { size, signed } = type;
  const little = type.order === "little";
  const bits = size * 8;
  const wrap = signed ? BigInt.asIntN : BigInt.asUintN;
  return {
    read(view, at) {
      if (size === 8) return signed ? view.getBigInt64(at, little) : view.getBigUint64(at, little);
      const low = view.getBigUint64(little ? at : at + 8, little);
      const high = view.getBigUint64(little ? at + 8 : at, little);
      return wrap(bits, (high << 64n) | low);
    },
    write(view, at, value, path) {
      if (typeof value !== "bigint" || wrap(bits, value) !== value) throw refuse(path, value, nameOf(type));
      if (size === 8) {
        view.setBigUint64(at, value, little);
        return;
      }
      view.setBigUint64(little ? at : at + 8, value, little);
      view.setBigUint64(little ? at + 8 : at, value >> 64n, little);
    },
  };
}

export function integerCoder(type: IntegerModel): Coder {
  return type.size <= 4 ? smallCoder(type) : largeCoder(type);
}

/**
 * A bit field: `width` bits from bit `shift` of the byte it is read at, least significant first, as clang lays them
 * out on little-endian machines.
 */
export function bitFieldCoder(shift: number, width: number, type: TypeModel): Coder {
  const bytes = Math.ceil((shift + width) / 8);
  const signed = (type.kind === "int" || type.kind === "enum") && type.signed;
  const mask = (1n << BigInt(width)) - 1n;
  const load = (view: DataView, at: number): bigint => {
    let bits = 0n;
    for (let i = bytes - 1; i >= 0; i--) bits = (bits << 8n) | BigInt(view.getUint8(at + i));
    return bits;
  };
  const isSmall = shift + width <= 31 && !signed;
  return {
    read(view, at) {
      if (isSmall) {
        let bits = 0;
        for (let i = bytes - 1; i >= 0; i--) bits = (bits << 8) | view.getUint8(at + i);
        const field = (bits >>> shift) & Number(mask);
        if (type.kind === "bool") return field !== 0;
        return type.size > 4 ? BigInt(field) : field;
      }
      const raw = (load(view, at) >> BigInt(shift)) & mask;
      const field = signed ? BigInt.asIntN(width, raw) : raw;
      if (type.kind === "bool") return field !== 0n;
      return type.size > 4 ? field : Number(field);
    },
    write(view, at, value, path) {
      const whole = wholeOf(value, type);
      const wrapped =
        whole === undefined ? undefined : signed ? BigInt.asIntN(width, whole) : BigInt.asUintN(width, whole);
      if (whole === undefined || wrapped !== whole) {
        throw refuse(
          path,
          value,
          `${type.kind === "bool" ? "a boolean" : type.size > 4 ? "a bigint" : "a whole number"} of ${width} bit${width === 1 ? "" : "s"}`,
        );
      }
      const place = BigInt(shift);
      let bits = (load(view, at) & ~(mask << place)) | ((whole & mask) << place);
      for (let i = 0; i < bytes; i++, bits >>= 8n) view.setUint8(at + i, Number(bits & 0xffn));
    },
  };
}

function wholeOf(value: unknown, type: TypeModel): bigint | undefined {
  if (type.kind === "bool") return typeof value === "boolean" ? BigInt(value) : undefined;
  if (type.size > 4) return typeof value === "bigint" ? value : undefined;
  return typeof value === "number" && Number.isInteger(value) ? BigInt(value) : undefined;
}
