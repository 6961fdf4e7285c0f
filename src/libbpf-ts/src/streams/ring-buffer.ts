import { ArgumentError, BpfError } from "../errors.js";
import { failure } from "../fail.js";
import { closeFd, duplicateFd, lastErrno, mapBuffer, pageSize } from "../libc.js";
import type { BpfMap } from "../map.js";
import { MapType, mapTypeName } from "../map-shape.js";
import type { Codec } from "../types/codec.js";
import { EventStream } from "./event-stream.js";

// linux/bpf.h: flags in a record's length, bytes of its header.
const BUSY = 0x8000_0000 | 0;
const DISCARDED = 0x4000_0000;
const LENGTH_MASK = 0x3fff_ffff;
const HEADER_BYTES = 8;
/** The kernel gets room back after this much was read, not only at the end. */
const RELEASE_BYTES = 1 << 16;

/**
 * Reads a BPF_MAP_TYPE_RINGBUF (Linux 5.8) straight from the memory that it shares with the kernel: no system call an
 * event. The positions and records are as in Documentation/bpf/ringbuf.rst and kernel/bpf/ringbuf.c.
 * One reader a map: its position is the map's.
 */
export class RingBuffer<T = Uint8Array> extends EventStream<T> {
  readonly #name: string;
  readonly #fd: number;
  readonly #codec: Codec<T> | undefined;
  readonly #mask: number;
  /** Bytes read so far, and in `#shared` what the kernel knows of that. */
  #position: number;
  readonly #shared: BigUint64Array;
  readonly #produced: BigUint64Array;
  /** The data, mapped twice in a row, so that no record is cut in two; as words for the headers. */
  readonly #data: DataView;
  readonly #words: Int32Array;
  readonly #bytes: Uint8Array;

  /**
   * @param codec of the records, as generated modules have it; without one, events are bytes, which are the kernel's
   * again as soon as their handler returns
   * @throws ArgumentError for another type of map
   */
  constructor(map: BpfMap, codec?: Codec<T>) {
    const { type, maxEntries } = map.shape;
    const op = `read ring buffer ${map.name}`;
    if (type !== MapType.ringBuffer) throw new ArgumentError(op, `it is a map of type ${mapTypeName(type)}`);
    const page = pageSize();
    const consumer = mapBuffer(map.fd, page, "write");
    const producer = mapBuffer(map.fd, page + 2 * maxEntries, "read", page);
    if (consumer === undefined || producer === undefined) throw failure(op, lastErrno());
    const fd = duplicateFd(map.fd);
    if (fd < 0) throw failure(op, lastErrno());
    super(`ring buffer ${map.name}`, fd);
    this.#fd = fd;
    this.#name = map.name;
    this.#codec = codec;
    this.#mask = maxEntries - 1;
    this.#shared = new BigUint64Array(consumer, 0, 1);
    this.#produced = new BigUint64Array(producer, 0, 1);
    this.#data = new DataView(producer, page);
    this.#words = new Int32Array(producer, page);
    this.#bytes = new Uint8Array(producer, page);
    this.#position = Number(Atomics.load(this.#shared, 0));
  }

  override drain(handler: (event: T) => void, limit = Number.POSITIVE_INFINITY): number {
    this.demandOpen(`read ring buffer ${this.#name}`);
    let count = 0;
    // The kernel wakes a reader only when it commits the very record that the reader's position stands at
    // (bpf_ringbuf_commit), so what came in before the position was published has to be looked for once more.
    while (count < limit) {
      const before = this.#position;
      count += this.#pass(handler, limit - count);
      if (this.#position === before) break;
    }
    return count;
  }

  /** Reads up to the producer's position of now, or to a record that is still being written; publishes how far. */
  #pass(handler: (event: T) => void, limit: number): number {
    const end = Number(Atomics.load(this.#produced, 0));
    let published = this.#position;
    let count = 0;
    try {
      while (this.#position < end && count < limit) {
        const at = this.#position & this.#mask;
        const header = Atomics.load(this.#words, at >>> 2);
        if ((header & BUSY) !== 0) break;
        const length = header & LENGTH_MASK;
        // Past the record first: a handler that throws has had it.
        this.#position += (length + HEADER_BYTES + 7) & ~7;
        if ((header & DISCARDED) !== 0) continue;
        count++;
        handler(this.#read(at + HEADER_BYTES, length));
        if (this.#position - published >= RELEASE_BYTES) {
          published = this.#position;
          Atomics.store(this.#shared, 0, BigInt(published));
        }
      }
    } finally {
      Atomics.store(this.#shared, 0, BigInt(this.#position));
    }
    return count;
  }

  #read(at: number, length: number): T {
    if (this.#codec === undefined) return this.#bytes.subarray(at, at + length) as T;
    if (length >= this.#codec.size) return this.#codec.read(this.#data, at);
    throw new BpfError(`read ring buffer ${this.#name}`, {
      code: "SHORT_RECORD",
      found: `a record of ${length} bytes, where its type has ${this.#codec.size}`,
      hint: "give the codec of the struct that the program sends",
    });
  }

  protected override keep(event: T): T {
    return this.#codec === undefined ? ((event as Uint8Array).slice() as T) : event;
  }

  protected override release(): void {
    closeFd(this.#fd);
  }
}
