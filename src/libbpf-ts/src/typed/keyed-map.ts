import { MissingFeatureError } from "../errors.js";
import { type BpfMap, UpdateFlag } from "../map.js";
import { type Codec, codec, viewOf } from "../types/codec.js";
import type { TypeModel } from "../types/model.js";

/** Turns all bytes that a map keeps for a key into a value and back. */
export interface ValueForm<V, VI> {
  decode(bytes: Buffer): V;
  encode(value: VI): ArrayBufferView;
}

/** What the typed maps have in common: keys and values by codecs, over a BpfMap, which stays reachable as `raw`. */
export class KeyedMap<K, V, KI = K, VI = V> {
  readonly raw: BpfMap;
  readonly key: Codec<K, KI>;
  readonly #form: ValueForm<V, VI>;

  protected constructor(raw: BpfMap, key: TypeModel, form: ValueForm<V, VI>) {
    this.raw = raw;
    this.key = codec(key);
    this.#form = form;
  }

  get name(): string {
    return this.raw.name;
  }

  /** Value of a key, or undefined where the map has none. An LPM trie answers with the longest prefix's. */
  lookup(key: KI): V | undefined {
    const bytes = this.raw.lookup(this.key.encode(key));
    return bytes === undefined ? undefined : this.#form.decode(bytes);
  }

  /** @param flags UpdateFlag; noExist fails with EEXIST, exist with ENOENT @throws ArgumentError, BpfError */
  update(key: KI, value: VI, flags: number = UpdateFlag.any): void {
    this.raw.update(this.key.encode(key), this.#form.encode(value), flags);
  }

  /** Removes a key. @returns false where there was none */
  delete(key: KI): boolean {
    return this.raw.delete(this.key.encode(key));
  }

  /** Sets many keys in few system calls. @throws BpfError with how many were set, where the kernel stopped early */
  updateBatch(entries: Iterable<readonly [key: KI, value: VI]>): number {
    const all = [...entries];
    const { size } = this.key;
    const stride = this.raw.valueStride;
    const keys = new Uint8Array(all.length * size);
    const values = new Uint8Array(all.length * stride);
    const keyView = viewOf(keys);
    all.forEach(([key, value], index) => {
      this.key.write(keyView, index * size, key);
      const bytes = this.#form.encode(value);
      values.set(new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength), index * stride);
    });
    return this.raw.updateBatch(keys, values);
  }

  /** Removes many keys. @returns how many */
  deleteBatch(keys: Iterable<KI>): number {
    const all = [...keys];
    const packed = new Uint8Array(all.length * this.key.size);
    const view = viewOf(packed);
    all.forEach((key, index) => {
      this.key.write(view, index * this.key.size, key);
    });
    return this.raw.deleteBatch(packed);
  }

  /**
   * All entries. Each that stays in the map during the walk is given exactly once, whatever is added or removed
   * meanwhile; map types without batch lookup (LPM tries before Linux 5.8, hash maps before 5.6) are walked key by key.
   */
  *entries(): Generator<[key: K, value: V]> {
    const { size } = this.key;
    let isFirst = true;
    try {
      for (const { keys, values, count } of this.raw.lookupBatches()) {
        isFirst = false;
        const stride = this.raw.valueStride;
        const view = viewOf(keys);
        for (let i = 0; i < count; i++) {
          yield [
            this.key.read(view, i * size),
            this.#form.decode(values.subarray(i * stride, (i + 1) * stride)),
          ];
        }
      }
    } catch (error) {
      if (!isFirst || !(error instanceof MissingFeatureError)) throw error;
      for (const [key, value] of this.raw.entries()) yield [this.key.decode(key), this.#form.decode(value)];
    }
  }

  *keys(): Generator<K> {
    for (const [key] of this.entries()) yield key;
  }

  [Symbol.iterator](): Generator<[key: K, value: V]> {
    return this.entries();
  }
}
