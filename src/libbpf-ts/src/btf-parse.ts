import { type BtfType, Kind, type Linkage } from "./btf-types.js";
import { InvalidObjectError } from "./errors.js";

/** BTF_MAGIC of linux/btf.h. */
export const BTF_MAGIC = 0xeb9f;
const HEADER_BYTES = 24;
const OP = "read BTF";

function linkage(value: number): Linkage {
  return value === 0 ? "static" : value === 1 ? "global" : "extern";
}

/** Walks the type section. Reads beyond its end are turned into InvalidObjectError by the caller. */
class Reader {
  readonly #types: Buffer;
  readonly #strings: Buffer;
  readonly #firstString: number;
  #at = 0;

  constructor(types: Buffer, strings: Buffer, firstString: number) {
    this.#types = types;
    this.#strings = strings;
    this.#firstString = firstString;
  }

  get done(): boolean {
    return this.#at >= this.#types.length;
  }

  u32(): number {
    const value = this.#types.readUInt32LE(this.#at);
    this.#at += 4;
    return value;
  }

  i32(): number {
    return this.u32() | 0;
  }

  name(): string {
    const start = this.u32() - this.#firstString;
    return this.#strings.toString("latin1", start, this.#strings.indexOf(0, start));
  }

  list<T>(length: number, item: () => T): T[] {
    // The largest real vlen is 65535 (16 bits); each item takes at least 8 bytes, so the buffer bounds it too.
    return Array.from({ length }, item);
  }

  /** struct btf_type and what follows it (Documentation/bpf/btf.rst). */
  type(): BtfType {
    const name = this.name();
    const info = this.u32();
    const sizeOrType = this.u32();
    const length = info & 0xffff;
    const flag = info >>> 31 === 1;
    const kind = (info >>> 24) & 0x1f;
    switch (kind) {
      case Kind.int: {
        const bits = this.u32();
        const encoding = (bits >>> 24) & 0xf;
        const shape = { bits: bits & 0xff, signed: (encoding & 1) !== 0, bool: (encoding & 4) !== 0 };
        return { kind: "int", name, size: sizeOrType, ...shape };
      }
      case Kind.float:
        return { kind: "float", name, size: sizeOrType };
      case Kind.ptr:
        return { kind: "ptr", name, type: sizeOrType };
      case Kind.typedef:
        return { kind: "typedef", name, type: sizeOrType };
      case Kind.volatile:
        return { kind: "volatile", name, type: sizeOrType };
      case Kind.const:
        return { kind: "const", name, type: sizeOrType };
      case Kind.restrict:
        return { kind: "restrict", name, type: sizeOrType };
      case Kind.typeTag:
        return { kind: "typeTag", name, type: sizeOrType };
      case Kind.array: {
        const type = this.u32();
        this.u32(); // index type
        return { kind: "array", name, type, length: this.u32() };
      }
      case Kind.struct:
      case Kind.union: {
        const members = this.list(length, () => {
          const member = { name: this.name(), type: this.u32() };
          const offset = this.u32();
          return flag
            ? { ...member, bitOffset: offset & 0xffffff, bits: offset >>> 24 }
            : { ...member, bitOffset: offset, bits: 0 };
        });
        return { kind: kind === Kind.struct ? "struct" : "union", name, size: sizeOrType, members };
      }
      case Kind.enum: {
        const value = () => BigInt(flag ? this.i32() : this.u32());
        const values = new Map(this.list(length, () => [this.name(), value()] as const));
        return { kind: "enum", name, size: sizeOrType, signed: flag, values };
      }
      case Kind.enum64: {
        const value = () => {
          const low = BigInt(this.u32());
          const bits = (BigInt(this.u32()) << 32n) | low;
          return flag ? BigInt.asIntN(64, bits) : bits;
        };
        const values = new Map(this.list(length, () => [this.name(), value()] as const));
        return { kind: "enum", name, size: sizeOrType, signed: flag, values };
      }
      case Kind.fwd:
        return { kind: "fwd", name };
      case Kind.func:
        return { kind: "func", name, type: sizeOrType, linkage: linkage(length) };
      case Kind.funcProto: {
        const params = this.list(length, () => ({ name: this.name(), type: this.u32() }));
        return { kind: "funcProto", name, returns: sizeOrType, params };
      }
      case Kind.var:
        return { kind: "var", name, type: sizeOrType, linkage: linkage(this.u32()) };
      case Kind.datasec: {
        const variables = this.list(length, () => ({
          type: this.u32(),
          offset: this.u32(),
          size: this.u32(),
        }));
        return { kind: "datasec", name, size: sizeOrType, variables };
      }
      case Kind.declTag:
        return { kind: "declTag", name, type: sizeOrType, component: this.i32() };
      default:
        throw new InvalidObjectError(OP, `kind ${kind}, which this reader does not know`);
    }
  }
}

/**
 * All types of raw BTF, by number; number 0 is void.
 * @param base the BTF that a split BTF (a module's) goes on from: its types, and the bytes of its strings
 * @throws InvalidObjectError
 */
export function parseTypes(
  bytes: Uint8Array,
  base?: { types: readonly BtfType[]; stringBytes: number },
): { types: BtfType[]; stringBytes: number } {
  const btf = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (btf.length < HEADER_BYTES || btf.readUInt16LE(0) !== BTF_MAGIC) {
    throw new InvalidObjectError(OP, "it does not begin with BTF's magic number");
  }
  const header = btf.readUInt32LE(4);
  const typesAt = header + btf.readUInt32LE(8);
  const typesEnd = typesAt + btf.readUInt32LE(12);
  const stringsAt = header + btf.readUInt32LE(16);
  const stringBytes = btf.readUInt32LE(20);
  if (typesEnd > btf.length || stringsAt + stringBytes > btf.length) {
    throw new InvalidObjectError(OP, `it is cut off after ${btf.length} bytes`);
  }
  const strings = btf.subarray(stringsAt, stringsAt + stringBytes);
  const reader = new Reader(btf.subarray(typesAt, typesEnd), strings, base?.stringBytes ?? 0);
  const types: BtfType[] = base ? [...base.types] : [{ kind: "void", name: "void" }];
  try {
    while (!reader.done) types.push(reader.type());
  } catch (cause) {
    if (cause instanceof RangeError) {
      throw new InvalidObjectError(OP, `type ${types.length} is cut off`);
    }
    throw cause;
  }
  return { types, stringBytes };
}
