import { ArgumentError } from "../errors.js";
import { compositeCoder } from "./composite-coder.js";
import { type IntegerModel, integerCoder, refuse } from "./integer-coder.js";
import type { TypeModel } from "./model.js";

/** How values of one type are read and written; `path` names the field in errors. */
export interface Coder {
  read(view: DataView, at: number): unknown;
  /** The memory holds zeroes before. @throws ArgumentError */
  write(view: DataView, at: number, value: unknown, path: string): void;
}

const decoder = new TextDecoder();
const encoder = new TextEncoder();

export function coderOf(type: TypeModel): Coder {
  switch (type.kind) {
    case "int":
      return integerCoder(type);
    case "enum":
      return integerCoder({ ...type, kind: "int", order: "little" });
    case "pointer":
      return integerCoder({ kind: "int", size: type.size, signed: false, order: "little" });
    case "bool":
      return boolCoder(type.size);
    case "float":
      return floatCoder(type.size);
    case "text":
      return textCoder(type.size);
    case "bytes":
      return bytesCoder(type.size);
    case "array":
      return arrayCoder(type.element, type.length);
    default:
      return compositeCoder(type);
  }
}

function boolCoder(size: number): Coder {
  return {
    read: (view, at) => view.getUint8(at) !== 0,
    write(view, at, value, path) {
      if (typeof value !== "boolean") throw refuse(path, value, `a bool of ${size} byte`);
      view.setUint8(at, value ? 1 : 0);
    },
  };
}

function floatCoder(size: number): Coder {
  return {
    read: (view, at) => (size === 4 ? view.getFloat32(at, true) : view.getFloat64(at, true)),
    write(view, at, value, path) {
      if (typeof value !== "number") throw refuse(path, value, "a floating-point number");
      if (size === 4) view.setFloat32(at, value, true);
      else view.setFloat64(at, value, true);
    },
  };
}

const bytesAt = (view: DataView, at: number, size: number): Uint8Array =>
  new Uint8Array(view.buffer, view.byteOffset + at, size);

function textCoder(size: number): Coder {
  return {
    read(view, at) {
      const field = bytesAt(view, at, size);
      const end = field.indexOf(0);
      return decoder.decode(end < 0 ? field : field.subarray(0, end));
    },
    write(view, at, value, path) {
      if (typeof value !== "string") throw refuse(path, value, `text for char[${size}]`);
      const encoded = encoder.encode(value);
      if (encoded.length > size) throw refuse(path, value, `text of at most ${size} bytes`);
      bytesAt(view, at, size).set(encoded);
    },
  };
}

function bytesCoder(size: number): Coder {
  return {
    read: (view, at) => bytesAt(view, at, size).slice(),
    write(view, at, value, path) {
      if (!ArrayBuffer.isView(value) || value.byteLength !== size) throw refuse(path, value, `${size} bytes`);
      bytesAt(view, at, size).set(new Uint8Array(value.buffer, value.byteOffset, size));
    },
  };
}

type Elements = ArrayLike<unknown> & { [index: number]: unknown };

/** The typed array that holds an integer type, or undefined where there is none. */
function typedArrayFor(element: TypeModel): (new (length: number) => Elements) | undefined {
  if (element.kind !== "int") return undefined;
  switch (element.size) {
    case 1:
      return element.signed ? Int8Array : Uint8Array;
    case 2:
      return element.signed ? Int16Array : Uint16Array;
    case 4:
      return element.signed ? Int32Array : Uint32Array;
    case 8:
      return (element.signed ? BigInt64Array : BigUint64Array) as unknown as new (
        length: number,
      ) => Elements;
    default:
      return undefined;
  }
}

function arrayCoder(element: TypeModel, length: number): Coder {
  const inner = coderOf(element);
  const Holder = typedArrayFor(element) ?? (Array as unknown as new (length: number) => Elements);
  const isPlain = Holder !== (Array as unknown) && (element as IntegerModel).order === "little";
  const isBytes = isPlain && element.size === 1;
  return {
    read(view, at) {
      const values = new Holder(length);
      if (isBytes && ArrayBuffer.isView(values)) {
        new Uint8Array(values.buffer).set(bytesAt(view, at, length));
        return values;
      }
      for (let i = 0; i < length; i++) values[i] = inner.read(view, at + i * element.size);
      return values;
    },
    write(view, at, value, path) {
      const values = value as ArrayLike<unknown> | null | undefined;
      if (typeof values !== "object" || values?.length !== length) {
        const found = typeof values?.length === "number" ? `${values.length} elements` : String(value);
        throw new ArgumentError(`encode ${path}`, found, `its array has ${length}`);
      }
      for (let i = 0; i < length; i++) inner.write(view, at + i * element.size, values[i], `${path}[${i}]`);
    },
  };
}
