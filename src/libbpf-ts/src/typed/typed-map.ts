import { possibleCpus } from "../cpus.js";
import { ArgumentError } from "../errors.js";
import { BpfMap } from "../map.js";
import { sliceStride } from "../map-shape.js";
import { codec } from "../types/codec.js";
import type { TypeModel } from "../types/model.js";
import { KeyedMap, type ValueForm } from "./keyed-map.js";
import type { MapModel } from "./map-definition.js";

/** A value of which the definition says only the size may be resized before load(), so its bytes pass as they are. */
function formOf<V, VI>(value: TypeModel): ValueForm<V, VI> {
  if (value.kind === "bytes")
    return { decode: (bytes) => new Uint8Array(bytes) as V, encode: (bytes) => bytes as ArrayBufferView };
  return codec<V, VI>(value);
}

/** A map with one value a key. */
export class TypedMap<K, V, KI = K, VI = V> extends KeyedMap<K, V, KI, VI> {
  constructor(raw: BpfMap, key: TypeModel, value: TypeModel) {
    super(raw, key, formOf(value));
  }
}

/** A map with one value a key and possible CPU, in the order of the CPUs' numbers. */
export class TypedPerCpuMap<K, V, KI = K, VI = V> extends KeyedMap<K, V[], KI, readonly VI[]> {
  constructor(raw: BpfMap, key: TypeModel, value: TypeModel) {
    const slice = formOf<V, VI>(value);
    super(raw, key, {
      decode(bytes) {
        const stride = sliceStride(raw.shape);
        const { valueSize } = raw.shape;
        return Array.from({ length: bytes.length / stride }, (_, cpu) =>
          slice.decode(bytes.subarray(cpu * stride, cpu * stride + valueSize)),
        );
      },
      encode(values) {
        if (values.length !== possibleCpus()) {
          const hint = `give one for each of the ${possibleCpus()} possible CPUs`;
          throw new ArgumentError(`update map ${raw.name}`, `${values.length} values`, hint);
        }
        const stride = sliceStride(raw.shape);
        const all = new Uint8Array(raw.valueStride);
        values.forEach((value, cpu) => {
          const bytes = slice.encode(value);
          all.set(new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength), cpu * stride);
        });
        return all;
      },
    });
  }
}

/** What typedMap() makes of a model, or of a map without a key: the map itself. */
export type AnyTypedMap =
  | TypedMap<unknown, unknown>
  | TypedPerCpuMap<unknown, unknown>
  | TypedMapOfMaps<unknown, AnyTypedMap>
  | BpfMap;

/** A map whose values are maps. */
export class TypedMapOfMaps<K, Inner extends AnyTypedMap, KI = K> {
  readonly raw: BpfMap;
  readonly #keys: KeyedMap<K, number, KI>;
  readonly #inner: MapModel;

  constructor(raw: BpfMap, key: TypeModel, inner: MapModel) {
    this.raw = raw;
    this.#inner = inner;
    // User space writes an inner map's descriptor and reads its id (kernel/bpf/map_in_map.c).
    const reference: TypeModel = { kind: "int", size: 4, signed: false, order: "little" };
    this.#keys = new TypedMap<K, number, KI>(raw, key, reference);
  }

  get name(): string {
    return this.raw.name;
  }

  /** The inner map of a key, or undefined. Its `raw` has a descriptor of its own: close it. Needs CAP_SYS_ADMIN. */
  lookup(key: KI): Inner | undefined {
    const id = this.#keys.lookup(key);
    return id === undefined ? undefined : this.wrap(BpfMap.fromId(id));
  }

  /** Puts a map in; the outer map holds it from then on, so it may be closed here. */
  update(key: KI, inner: Inner | BpfMap): void {
    this.#keys.update(key, inner instanceof BpfMap ? inner.fd : inner.raw.fd);
  }

  delete(key: KI): boolean {
    return this.#keys.delete(key);
  }

  keys(): Generator<K> {
    return this.#keys.keys();
  }

  /** A map of the inner type (made by BpfMap.create(), for example) with the inner key's and value's codecs. */
  wrap(raw: BpfMap): Inner {
    return typedMap(raw, this.#inner) as Inner;
  }
}

/** Gives a map the codecs of its model. */
export function typedMap(raw: BpfMap, model: MapModel): AnyTypedMap {
  switch (model.kind) {
    case "map":
      return new TypedMap(raw, model.key, model.value);
    case "perCpu":
      return new TypedPerCpuMap(raw, model.key, model.value);
    case "mapOfMaps":
      return new TypedMapOfMaps(raw, model.key, model.inner);
    case "raw":
      return raw;
  }
}
