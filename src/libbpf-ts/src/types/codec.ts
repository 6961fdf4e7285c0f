import { ArgumentError } from "../errors.js";
import { type Coder, coderOf } from "./coder.js";
import type { TypeModel } from "./model.js";

/** A number for each field of a struct's value. */
export type FieldOffsets<T> = T extends object ? Readonly<Record<keyof T & string, number>> : unknown;

/**
 * Turns a C type's bytes into a JavaScript value and back. Integers up to 32 bits are numbers and larger ones bigints,
 * always in the host's terms, whatever their order in memory; arrays of integers are typed arrays, char[] is text, structs are
 * objects. A union is read as all its members and written by exactly one.
 */
export class Codec<T, I = T> {
  readonly type: TypeModel;
  /** sizeof the type in bytes. */
  readonly size: number;
  /** Byte offset of each field of a struct or union; none for other types. */
  readonly offsets: FieldOffsets<T>;
  readonly #coder: Coder;

  constructor(type: TypeModel) {
    this.type = type;
    this.size = type.size;
    this.#coder = coderOf(type);
    this.offsets = Object.fromEntries(offsetsOf(type, 0)) as FieldOffsets<T>;
  }

  /** Reads a value that begins `at` bytes into the view. */
  read(view: DataView, at = 0): T {
    return this.#coder.read(view, at) as T;
  }

  /**
   * Writes a value over zeroed memory.
   * @throws ArgumentError for what does not fit the type, with the field's name
   */
  write(view: DataView, at: number, value: I): void {
    this.#coder.write(view, at, value, "value");
  }

  /** @throws ArgumentError where the bytes are fewer than the type has */
  decode(bytes: ArrayBufferView): T {
    if (bytes.byteLength < this.size) {
      throw new ArgumentError("decode a value", `${bytes.byteLength} bytes`, `its type has ${this.size}`);
    }
    return this.read(viewOf(bytes));
  }

  /** @throws ArgumentError */
  encode(value: I): Uint8Array {
    const bytes = new Uint8Array(this.size);
    this.write(viewOf(bytes), 0, value);
    return bytes;
  }
}

/** A codec of a type known at compile time; generated modules give the type arguments that belong to the model. */
export const codec = <T, I = T>(type: TypeModel): Codec<T, I> => new Codec<T, I>(type);

/** A DataView of the same memory. */
export const viewOf = (bytes: ArrayBufferView): DataView =>
  new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);

function offsetsOf(type: TypeModel, base: number): [string, number][] {
  if (type.kind !== "struct" && type.kind !== "union") return [];
  return type.fields.flatMap((field): [string, number][] =>
    field.name === "" ? offsetsOf(field.type, base + field.offset) : [[field.name, base + field.offset]],
  );
}
