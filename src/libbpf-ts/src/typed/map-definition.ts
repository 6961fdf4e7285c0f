import type { Btf } from "../btf.js";
import type { BtfType } from "../btf-types.js";
import { InvalidObjectError } from "../errors.js";
import { MapType } from "../map-shape.js";
import { modelOf } from "../types/from-btf.js";
import { bytes, type TypeModel, u32 } from "../types/model.js";
import { sorted } from "./sorted.js";

/** What a typed map is made from: plain data, which generated modules carry. */
export type MapModel =
  | { readonly kind: "map" | "perCpu"; readonly key: TypeModel; readonly value: TypeModel }
  | { readonly kind: "mapOfMaps"; readonly key: TypeModel; readonly inner: MapModel }
  /** A ring or perf buffer, a queue, or another type without a key. */
  | { readonly kind: "raw" };

/** What libbpf takes for the size of a descriptor, where a definition gives none. */
const U32_BYTES = 4;
// enum bpf_map_type (linux/bpf.h): maps without a key, and those whose entries the kernel alone writes.
const PERF_EVENT_ARRAY = 4;
const QUEUE = 22;
const STACK = 23;
const BLOOM_FILTER = 30;
const USER_RING_BUFFER = 31;
const ARENA = 33;
const KEYLESS: ReadonlySet<number> = new Set([
  PERF_EVENT_ARRAY,
  QUEUE,
  STACK,
  MapType.ringBuffer,
  BLOOM_FILTER,
  USER_RING_BUFFER,
  ARENA,
]);
/** Types whose key is an index, whether the definition says so or gives its size only. */
const INDEXED: ReadonlySet<number> = new Set([
  MapType.array,
  MapType.perCpuArray,
  MapType.arrayOfMaps,
  3, // BPF_MAP_TYPE_PROG_ARRAY
]);
const PER_CPU: ReadonlySet<number> = new Set([
  MapType.perCpuHash,
  MapType.perCpuArray,
  MapType.lruPerCpuHash,
]);
const OF_MAPS: ReadonlySet<number> = new Set([MapType.arrayOfMaps, MapType.hashOfMaps]);

/** Maps of an object by name, as their definitions in the section ".maps" declare keys and values. */
export function mapModels(btf: Btf): Map<string, MapModel> {
  if (!btf.datasecs().includes(".maps")) return new Map();
  return new Map(
    sorted(btf.datasec(".maps").variables).map(({ name, typeId }) => [name, definition(btf, typeId, name)]),
  );
}

/**
 * A definition is a struct that nothing ever stores: `__uint(name, N)` is a pointer to an array of N elements,
 * `__type(name, T)` a pointer to T, `__array(values, T)` an array of pointers to T (bpf/bpf_helpers.h).
 */
function definition(btf: Btf, typeId: number, name: string): MapModel {
  const struct = btf.resolve(typeId);
  if (struct.kind !== "struct")
    throw new InvalidObjectError("read BTF", `map ${name} is defined by no struct`);
  const member = (wanted: string): number | undefined =>
    struct.members.find((candidate) => candidate.name === wanted)?.type;
  const number = (wanted: string): number | undefined => {
    const target = pointee(btf, member(wanted));
    return target?.type.kind === "array" ? target.type.length : undefined;
  };
  const model = (typed: string, sized: string): TypeModel => {
    const target = pointee(btf, member(typed));
    return target === undefined ? bytes(number(sized) ?? U32_BYTES) : modelOf(btf, target.id);
  };

  const type = number("type");
  if (type === undefined) throw new InvalidObjectError("read BTF", `map ${name} has no type`);
  if (KEYLESS.has(type)) return { kind: "raw" };
  const isIndexed = INDEXED.has(type) && member("key") === undefined;
  const key = isIndexed ? u32 : model("key", "key_size");
  if (!OF_MAPS.has(type)) {
    return { kind: PER_CPU.has(type) ? "perCpu" : "map", key, value: model("value", "value_size") };
  }
  const values = member("values");
  const array = values === undefined ? undefined : btf.resolve(values);
  const inner = array?.kind === "array" ? pointee(btf, array.type) : undefined;
  if (inner === undefined) return { kind: "mapOfMaps", key, inner: { kind: "raw" } };
  return { kind: "mapOfMaps", key, inner: definition(btf, inner.id, `${name}'s inner map`) };
}

function pointee(btf: Btf, id: number | undefined): { id: number; type: BtfType } | undefined {
  const type = id === undefined ? undefined : btf.resolve(id);
  return type?.kind === "ptr" ? { id: type.type, type: btf.resolve(type.type) } : undefined;
}
