import { type FdSource, OwnedFd } from "./descriptor.js";
import { ENOENT } from "./errno.js";
import { ArgumentError, BpfError, MissingFeatureError } from "./errors.js";
import { check, failure } from "./fail.js";
import { deleteBatch, lookupBatches, type MapBatch, updateBatch } from "./map-batch.js";
import {
  isPerCpu,
  type MapInfo,
  type MapShape,
  mapTypeName,
  readMapInfo,
  sliceStride,
  valueStride,
} from "./map-shape.js";
import { native, optsSize } from "./native.js";
import { getPinned, pinFd } from "./pin.js";

/** Flags of update: BPF_ANY, BPF_NOEXIST, BPF_EXIST, BPF_F_LOCK (linux/bpf.h). */
export const UpdateFlag = { any: 0, noExist: 1, exist: 2, lock: 4 } as const;

/** A key's bytes, or a number for maps whose key is 4 bytes wide (host byte order). */
export type MapKey = ArrayBufferView | number;

/**
 * A map of the kernel, held by a descriptor. Keys and values are bytes in the layout of the C types; views
 * (typed arrays, Buffers) are passed to the kernel without a copy.
 */
export class BpfMap implements Disposable {
  readonly #source: FdSource;
  readonly #numberKey = new Uint32Array(1);
  #shape: MapShape | undefined;

  protected constructor(source: FdSource, shape?: MapShape) {
    this.#source = source;
    this.#shape = shape;
  }

  /**
   * Makes a map that belongs to no object, for example the inner map of a map-in-map.
   * @throws MissingFeatureError where the kernel has no such map type
   */
  static create(shape: MapShape & { innerMap?: BpfMap }): BpfMap {
    const { name, type, keySize, valueSize, maxEntries, flags, innerMap } = shape;
    const fd = native().mapCreate(type, name, keySize, valueSize, maxEntries, {
      sz: optsSize.mapCreate,
      map_flags: flags,
      inner_map_fd: innerMap?.fd ?? 0,
      btf_fd: 0,
      btf_key_type_id: 0,
      btf_value_type_id: 0,
      btf_vmlinux_value_type_id: 0,
      map_extra: 0,
      numa_node: 0,
      map_ifindex: 0,
    });
    if (fd >= 0) return new BpfMap(new OwnedFd(fd, `map ${name}`));
    const op = `create map ${name}`;
    if (native().probeMapType(type, null) === 0) {
      throw new MissingFeatureError(op, `map type ${mapTypeName(type)}`, undefined, { errno: -fd });
    }
    throw failure(op, -fd);
  }

  /** Opens a map pinned on bpffs. */
  static openPinned(path: string): BpfMap {
    return new BpfMap(new OwnedFd(getPinned(path, "map"), `map ${path}`));
  }

  /** Opens a map by the kernel's id. Needs CAP_SYS_ADMIN. */
  static fromId(id: number): BpfMap {
    return new BpfMap(new OwnedFd(check(native().mapFdById(id), `open map id ${id}`), `map id ${id}`));
  }

  /** The descriptor; stays the map's own. */
  get fd(): number {
    return this.#source.fd;
  }

  /** The kernel's view: id, type, sizes, flags. */
  info(): MapInfo {
    return readMapInfo(this.fd);
  }

  get name(): string {
    return this.shape.name;
  }

  /** Type and sizes, cached: they cannot change once the map exists. */
  get shape(): MapShape {
    this.#shape ??= this.info();
    return this.#shape;
  }

  /** Bytes of one value in lookup, update and batches; a per-CPU value counts all its slices. */
  get valueStride(): number {
    return valueStride(this.shape);
  }

  /**
   * Value of a key, or undefined where the map has none. `into` (at least valueStride bytes) saves the allocation.
   * For a per-CPU map these are all slices, one after the other; lookupPerCpu() cuts them.
   */
  lookup(key: MapKey): Buffer | undefined;
  lookup<T extends ArrayBufferView>(key: MapKey, into: T): T | undefined;
  lookup(key: MapKey, into?: ArrayBufferView): ArrayBufferView | undefined {
    const stride = this.valueStride;
    const value = into ?? Buffer.alloc(stride);
    if (value.byteLength < stride) {
      throw new ArgumentError(
        `look up in map ${this.name}`,
        `into has ${value.byteLength} bytes`,
        `give ${stride}`,
      );
    }
    const code = native().mapLookup(this.fd, this.#key(key), value);
    if (code === 0) return value;
    if (-code === ENOENT) return undefined;
    throw failure(`look up in map ${this.name}`, -code);
  }

  /** One slice a possible CPU, each valueSize bytes; undefined where the map has no such key. */
  lookupPerCpu(key: MapKey): Buffer[] | undefined {
    this.#demandPerCpu("lookupPerCpu");
    const all = this.lookup(key);
    if (all === undefined) return undefined;
    const stride = sliceStride(this.shape);
    return Array.from({ length: all.length / stride }, (_, cpu) =>
      all.subarray(cpu * stride, cpu * stride + this.shape.valueSize),
    );
  }

  /**
   * Sets a key's value (valueStride bytes).
   * @param flags UpdateFlag; noExist fails with EEXIST, exist with ENOENT
   */
  update(key: MapKey, value: ArrayBufferView, flags: number = UpdateFlag.any): void {
    if (value.byteLength !== this.valueStride) {
      throw new ArgumentError(
        `update map ${this.name}`,
        `the value has ${value.byteLength} bytes`,
        `the map takes ${this.valueStride}`,
      );
    }
    const code = native().mapUpdate(this.fd, this.#key(key), value, flags);
    if (code < 0) throw failure(`update map ${this.name}`, -code);
  }

  /** Sets a per-CPU value: one slice of valueSize bytes for each possible CPU. */
  updatePerCpu(key: MapKey, slices: readonly ArrayBufferView[], flags: number = UpdateFlag.any): void {
    this.#demandPerCpu("updatePerCpu");
    const stride = sliceStride(this.shape);
    const all = Buffer.alloc(this.valueStride);
    if (slices.length * stride !== all.length || slices.some((s) => s.byteLength !== this.shape.valueSize)) {
      throw new ArgumentError(
        `update map ${this.name}`,
        `${slices.length} slices`,
        `give ${all.length / stride} (possible CPUs) of ${this.shape.valueSize} bytes`,
      );
    }
    slices.forEach((slice, cpu) => {
      all.set(new Uint8Array(slice.buffer, slice.byteOffset, slice.byteLength), cpu * stride);
    });
    this.update(key, all, flags);
  }

  /** Removes a key. @returns false where there was none */
  delete(key: MapKey): boolean {
    const code = native().mapDelete(this.fd, this.#key(key));
    if (code === 0) return true;
    if (-code === ENOENT) return false;
    throw failure(`delete from map ${this.name}`, -code);
  }

  /** The key after `key`, or the first one; undefined at the end. */
  getNextKey(key?: MapKey): Buffer | undefined {
    const next = Buffer.alloc(this.shape.keySize);
    const code = native().mapNextKey(this.fd, key === undefined ? null : this.#key(key), next);
    if (code === 0) return next;
    if (-code === ENOENT) return undefined;
    throw failure(`iterate map ${this.name}`, -code);
  }

  /**
   * All keys. A hash map that loses the current key while it is read starts again from its first one, so the
   * walk ends with an error after maxEntries keys; lookupBatches() does not have the problem.
   */
  *keys(): Generator<Buffer> {
    let key = this.getNextKey();
    for (let seen = 0; key !== undefined; seen++) {
      if (seen >= this.shape.maxEntries) {
        throw new BpfError(`iterate map ${this.name}`, {
          code: "ITERATION_ABORTED",
          found: `more than its ${this.shape.maxEntries} entries were read`,
          hint: "keys were deleted meanwhile: read it with lookupBatches()",
        });
      }
      const next = this.getNextKey(key);
      yield key;
      key = next;
    }
  }

  /** All keys with their values (valueStride bytes); a key deleted meanwhile is left out. */
  *entries(): Generator<[key: Buffer, value: Buffer]> {
    for (const key of this.keys()) {
      const value = this.lookup(key);
      if (value !== undefined) yield [key, value];
    }
  }

  /**
   * Sets many keys in few system calls. Keys and values are packed, keySize and valueStride bytes each.
   * @throws BpfError with how many were set, where the kernel stopped early
   */
  updateBatch(keys: ArrayBufferView, values: ArrayBufferView): number {
    return updateBatch(this, keys, values);
  }

  /** Removes many packed keys. @returns how many */
  deleteBatch(keys: ArrayBufferView): number {
    return deleteBatch(this, keys);
  }

  /**
   * The whole map in chunks of about `chunk` entries, packed. The buffers of a chunk are its own.
   * Each entry that stays in the map during the walk is given exactly once.
   */
  lookupBatches(chunk = 4096): Generator<MapBatch> {
    return lookupBatches(this, chunk);
  }

  /** Forbids further updates from user space; BPF_MAP_FREEZE. Cannot be undone. */
  freeze(): void {
    check(native().mapFreeze(this.fd), `freeze map ${this.name}`);
  }

  pin(path: string): void {
    pinFd(this.fd, path, `map ${this.name}`);
  }

  /** Closes the descriptor; a map of an object stays open until its object is closed. Idempotent. */
  close(): void {
    this.#source.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #key(key: MapKey): ArrayBufferView {
    const { keySize } = this.shape;
    if (typeof key === "number") {
      if (keySize !== 4) {
        throw new ArgumentError(
          `use map ${this.name}`,
          "a number as the key",
          `its key has ${keySize} bytes`,
        );
      }
      this.#numberKey[0] = key;
      return this.#numberKey;
    }
    if (key.byteLength !== keySize) {
      throw new ArgumentError(
        `use map ${this.name}`,
        `a key of ${key.byteLength} bytes`,
        `its key has ${keySize}`,
      );
    }
    return key;
  }

  #demandPerCpu(method: string): void {
    if (isPerCpu(this.shape)) return;
    throw new ArgumentError(`${method} of map ${this.name}`, `its type is ${mapTypeName(this.shape.type)}`);
  }
}
