import { randomBytes } from "node:crypto";
import koffi from "koffi";
import { ArgumentError } from "../errors.js";
import { check, failure } from "../fail.js";
import { withLibbpfLog } from "../libbpf-log.js";
import { lastErrno } from "../libc.js";
import type { BpfMap } from "../map.js";
import { mapTypeName } from "../map-shape.js";
import { native, type Pointer } from "../native.js";
import type { Codec } from "../types/codec.js";
import { EventStream } from "./event-stream.js";

/** linux/bpf.h */
const BPF_MAP_TYPE_PERF_EVENT_ARRAY = 4;

// Named uniquely, as in native.ts.
const unique = randomBytes(8).toString("hex");
const sampleProto = koffi.proto(`perf_buffer_sample_fn_${unique}`, "void", [
  "void *",
  "int",
  "void *",
  "uint32",
]);
const lostProto = koffi.proto(`perf_buffer_lost_fn_${unique}`, "void", ["void *", "int", "uint64"]);

export interface PerfBufferOptions {
  /** Pages of memory a CPU, a power of two; 64 if left out. */
  pages?: number;
}

/** An event with the CPU that sent it. */
export interface PerfEvent<T> {
  readonly cpu: number;
  readonly data: T;
}

/**
 * Reads a BPF_MAP_TYPE_PERF_EVENT_ARRAY by libbpf's perf_buffer, for kernels before ring buffers (5.8) and programs that
 * use bpf_perf_event_output(). Events of one CPU come in order. A record may carry up to 7 bytes of padding, which the
 * kernel does not tell from data: give a codec, or know the length.
 */
export class PerfBuffer<T = Uint8Array> extends EventStream<PerfEvent<T>> {
  readonly #name: string;
  readonly #handle: Pointer;
  readonly #codec: Codec<T> | undefined;
  readonly #callbacks: bigint[];
  #handler: ((event: PerfEvent<T>) => void) | undefined;
  #error: unknown;
  #count = 0;
  #lost = 0;

  /** @throws ArgumentError for another type of map, MissingRightsError without CAP_PERFMON */
  constructor(map: BpfMap, codec?: Codec<T>, { pages = 64 }: PerfBufferOptions = {}) {
    const op = `read perf buffer ${map.name}`;
    const { type } = map.shape;
    if (type !== BPF_MAP_TYPE_PERF_EVENT_ARRAY)
      throw new ArgumentError(op, `it is a map of type ${mapTypeName(type)}`);
    const self: { target?: PerfBuffer<T> } = {};
    const callbacks = [
      koffi.register((_: Pointer, cpu: number, data: Pointer, size: number) => {
        if (self.target !== undefined) self.target.#sample(cpu, data, size);
      }, koffi.pointer(sampleProto)),
      koffi.register((_: Pointer, _cpu: number, count: number | bigint) => {
        if (self.target !== undefined) self.target.#lost += Number(count);
      }, koffi.pointer(lostProto)),
    ];
    const [sample = 0n, lost = 0n] = callbacks;
    const { result: handle, log } = withLibbpfLog(
      () => native().perfBufferNew(map.fd, pages, sample, lost, null, null) ?? -lastErrno(),
    );
    if (typeof handle === "number") {
      for (const callback of callbacks) koffi.unregister(callback);
      throw failure(op, -handle, { log });
    }
    super(`perf buffer ${map.name}`, native().perfBufferEpollFd(handle));
    self.target = this;
    this.#name = map.name;
    this.#handle = handle;
    this.#codec = codec;
    this.#callbacks = callbacks;
  }

  /** Events that the kernel had no room for, as far as it has said so: it does with the next event that fits. */
  get lost(): number {
    return this.#lost;
  }

  /** Hands over all events that are there; `limit` is not observed. */
  override drain(handler: (event: PerfEvent<T>) => void): number {
    const op = `read perf buffer ${this.#name}`;
    this.demandOpen(op);
    this.#handler = handler;
    this.#count = 0;
    this.#error = undefined;
    check(native().perfBufferConsume(this.#handle), op);
    this.#handler = undefined;
    if (this.#error !== undefined) throw this.#error;
    return this.#count;
  }

  /** An exception must not go through libbpf's frames: the first is kept and thrown by drain(). */
  #sample(cpu: number, data: Pointer, size: number): void {
    this.#count++;
    try {
      const bytes = new Uint8Array(koffi.view(data, size)).slice();
      const event = this.#codec === undefined ? (bytes as T) : this.#codec.decode(bytes);
      this.#handler?.({ cpu, data: event } satisfies PerfEvent<T>);
    } catch (error) {
      this.#error ??= error;
    }
  }

  protected override keep(event: PerfEvent<T>): PerfEvent<T> {
    return event;
  }

  protected override release(): void {
    native().perfBufferFree(this.#handle);
    for (const callback of this.#callbacks) koffi.unregister(callback);
  }
}
