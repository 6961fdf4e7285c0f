import { BTF_MAGIC } from "./btf-parse.js";
import { Kind } from "./btf-types.js";
import { InvalidObjectError } from "./errors.js";

const OP = "read BTF";
const HEADER_BYTES = 24;
const TYPE_BYTES = 12;
/** Bytes that follow a type of each kind, a fixed number and one for each of its elements (vlen). */
const EXTRA: Readonly<Record<number, { fixed: number; each: number }>> = {
  [Kind.int]: { fixed: 4, each: 0 },
  [Kind.array]: { fixed: 12, each: 0 },
  [Kind.struct]: { fixed: 0, each: 12 },
  [Kind.union]: { fixed: 0, each: 12 },
  [Kind.enum]: { fixed: 0, each: 8 },
  [Kind.enum64]: { fixed: 0, each: 12 },
  [Kind.funcProto]: { fixed: 0, each: 8 },
  [Kind.var]: { fixed: 4, each: 0 },
  [Kind.datasec]: { fixed: 0, each: 12 },
  [Kind.declTag]: { fixed: 4, each: 0 },
};
const NONE = { fixed: 0, each: 0 };
/** Kinds whose third word is a type, and not a size. */
const REFERS: ReadonlySet<number> = new Set([
  Kind.ptr,
  Kind.typedef,
  Kind.volatile,
  Kind.const,
  Kind.restrict,
  Kind.typeTag,
  Kind.func,
  Kind.funcProto,
  Kind.var,
  Kind.declTag,
]);

function kindAt(bytes: Buffer, at: number): number {
  return (bytes.readUInt32LE(at + 4) >>> 24) & 0x1f;
}

/**
 * Where each type of raw BTF with a whole header begins, in bytes, from type 1 on.
 * @throws InvalidObjectError where one is cut off or of no kind
 */
export function typePlaces(bytes: Buffer): number[] {
  const start = bytes.readUInt32LE(4) + bytes.readUInt32LE(8);
  const end = start + bytes.readUInt32LE(12);
  const places: number[] = [];
  for (let at = start; at < end; ) {
    const id = places.length + 1;
    if (at + TYPE_BYTES > end) throw new InvalidObjectError(OP, `type ${id} is cut off`);
    const kind = kindAt(bytes, at);
    if (kind === 0 || kind > Kind.enum64) throw new InvalidObjectError(OP, `type ${id} has kind ${kind}`);
    places.push(at);
    const { fixed, each } = EXTRA[kind] ?? NONE;
    at += TYPE_BYTES + fixed + each * (bytes.readUInt32LE(at + 4) & 0xffff);
    if (at > end) throw new InvalidObjectError(OP, `type ${id} is cut off`);
  }
  return places;
}

/**
 * Checks that the types of raw BTF lie within its bounds and refer to types and names that there are, and to those of the
 * right kind. libbpf before 1.4 takes that for granted and crashes on what is not so.
 * @throws InvalidObjectError
 */
export function checkBtf(bytes: Buffer): void {
  if (bytes.length < HEADER_BYTES || bytes.readUInt16LE(0) !== BTF_MAGIC)
    throw new InvalidObjectError(OP, "it does not begin with BTF's magic number");
  const header = bytes.readUInt32LE(4);
  const start = header + bytes.readUInt32LE(8);
  const end = start + bytes.readUInt32LE(12);
  const stringsAt = header + bytes.readUInt32LE(16);
  const strings = bytes.readUInt32LE(20);
  if (
    end > bytes.length ||
    stringsAt + strings > bytes.length ||
    strings === 0 ||
    bytes[stringsAt + strings - 1] !== 0
  )
    throw new InvalidObjectError(OP, `its types or names do not lie within its ${bytes.length} bytes`);

  const places = [0, ...typePlaces(bytes)];
  const kinds = places.map((at) => (at === 0 ? Kind.void : kindAt(bytes, at)));

  for (let id = 1; id < kinds.length; id++) checkType(id);

  function checkType(id: number): void {
    const at = places[id] ?? 0;
    const kind = kinds[id] ?? 0;
    const length = bytes.readUInt32LE(at + 4) & 0xffff;
    const target = bytes.readUInt32LE(at + 8);
    const after = at + TYPE_BYTES;
    name(id, at);
    if (REFERS.has(kind)) refer(id, target, kind === Kind.func ? Kind.funcProto : undefined);
    if (kind === Kind.array) {
      refer(id, bytes.readUInt32LE(after));
      refer(id, bytes.readUInt32LE(after + 4));
    }
    const isNamed = kind !== Kind.datasec;
    const hasType = kind === Kind.struct || kind === Kind.union || kind === Kind.funcProto;
    const { each } = EXTRA[kind] ?? NONE;
    for (let i = 0, place = after; each > 0 && i < length; i++, place += each) {
      if (isNamed) name(id, place);
      if (hasType) refer(id, bytes.readUInt32LE(place + 4));
      if (kind === Kind.datasec) variable(id, bytes.readUInt32LE(place));
    }
  }

  function name(id: number, at: number): void {
    if (bytes.readUInt32LE(at) >= strings)
      throw new InvalidObjectError(OP, `type ${id} has a name beyond the names`);
  }

  function refer(id: number, target: number, wanted?: number): void {
    const kind = kinds[target];
    if (kind === undefined)
      throw new InvalidObjectError(OP, `type ${id} refers to type ${target}, which there is not`);
    if (wanted !== undefined && kind !== wanted)
      throw new InvalidObjectError(OP, `type ${id} refers to type ${target}, which is of another kind`);
  }

  function variable(id: number, target: number): void {
    if (kinds[target] === Kind.var || kinds[target] === Kind.func) return;
    throw new InvalidObjectError(OP, `section ${id} has type ${target}, which is no variable`);
  }
}
