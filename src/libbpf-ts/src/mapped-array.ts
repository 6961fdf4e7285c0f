import { ArgumentError, ClosedError } from "./errors.js";
import { failure } from "./fail.js";
import { lastErrno, mapBuffer } from "./libc.js";
import type { BpfMap } from "./map.js";
import { MapType } from "./map-shape.js";
import type { Codec } from "./types/codec.js";

/** BPF_F_MMAPABLE of linux/bpf.h. */
const BPF_F_MMAPABLE = 1 << 10;

/**
 * The elements of an array map in memory that is shared with the kernel: no system call an access. The map needs
 * BPF_F_MMAPABLE (Linux 5.5). An element is read and written piece by piece, as C does without a lock.
 */
export class MappedArray<V, VI = V> implements Disposable {
  /** The shared memory; element i begins at byte i * stride. Stays valid for as long as it is referred to. */
  readonly memory: DataView;
  /** Bytes from one element to the next: the value's size rounded up to 8. */
  readonly stride: number;
  readonly length: number;
  readonly #codec: Codec<V, VI>;
  readonly #name: string;
  #isClosed = false;

  /** @throws ArgumentError for a map that cannot be mapped */
  constructor(map: BpfMap, codec: Codec<V, VI>) {
    const { type, flags, valueSize, maxEntries } = map.shape;
    const op = `map ${map.name} into memory`;
    if (type !== MapType.array || (flags & BPF_F_MMAPABLE) === 0) {
      const found = "it is no array, or has no BPF_F_MMAPABLE";
      throw new ArgumentError(op, found, "give its definition __uint(map_flags, BPF_F_MMAPABLE)");
    }
    if (codec.size !== valueSize) {
      throw new ArgumentError(op, `a codec of ${codec.size} bytes`, `its values have ${valueSize}`);
    }
    this.stride = Math.ceil(valueSize / 8) * 8;
    this.length = maxEntries;
    const buffer = mapBuffer(map.fd, this.stride * maxEntries, "write");
    if (buffer === undefined) throw failure(op, lastErrno());
    this.memory = new DataView(buffer);
    this.#codec = codec;
    this.#name = map.name;
  }

  get(index: number): V {
    return this.#codec.read(this.memory, this.#place(index));
  }

  set(index: number, value: VI): void {
    this.#codec.write(this.memory, this.#place(index), value);
  }

  close(): void {
    this.#isClosed = true;
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #place(index: number): number {
    const op = `use element ${index}`;
    if (this.#isClosed) throw new ClosedError(op, `the memory of map ${this.#name}`);
    if (Number.isInteger(index) && index >= 0 && index < this.length) return index * this.stride;
    throw new ArgumentError(op, `map ${this.#name} has ${this.length}`);
  }
}
