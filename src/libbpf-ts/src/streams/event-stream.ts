import { setImmediate } from "node:timers/promises";
import { ClosedError } from "../errors.js";
import { poller } from "./poller.js";

/** How many events are taken before others get their turn in the event loop. */
const EVENTS_A_TURN = 16_384;
const EVENTS_A_PULL = 256;

export interface ConsumeOptions {
  /** Ends consume() when it fires; events stay for whoever reads next. */
  signal?: AbortSignal;
}

/** Events that BPF programs send: those of a ring buffer or a perf buffer. */
export abstract class EventStream<T> implements AsyncIterable<T>, Disposable {
  readonly #what: string;
  #fd: number | undefined;

  protected constructor(what: string, fd: number) {
    this.#what = what;
    this.#fd = fd;
  }

  /**
   * Hands over the events that are there now, without waiting.
   * @param limit most events to take, where the kind of buffer can stop
   * @returns how many
   */
  abstract drain(handler: (event: T) => void, limit?: number): number;

  /** An event that outlives its handler. */
  protected abstract keep(event: T): T;
  protected abstract release(): void;

  /** Hands over every event as it comes, until close() or the signal. Other work of the event loop gets its turn. */
  async consume(handler: (event: T) => void, { signal }: ConsumeOptions = {}): Promise<void> {
    const stop = (): void => {
      if (this.#fd !== undefined) poller().release(this.#fd);
    };
    signal?.addEventListener("abort", stop);
    try {
      while (this.#fd !== undefined && !signal?.aborted) {
        if (this.drain(handler, EVENTS_A_TURN) > 0) await setImmediate();
        else await poller().readable(this.#fd);
      }
    } finally {
      signal?.removeEventListener("abort", stop);
    }
  }

  /** Every event as it comes, until close(). For more than some 100,000 a second take consume(). */
  async *[Symbol.asyncIterator](): AsyncGenerator<T> {
    while (this.#fd !== undefined) {
      const events: T[] = [];
      this.drain((event) => events.push(this.keep(event)), EVENTS_A_PULL);
      if (events.length === 0) await poller().readable(this.#fd);
      yield* events;
    }
  }

  get closed(): boolean {
    return this.#fd === undefined;
  }

  /** Ends consume() and iterations. Idempotent. */
  close(): void {
    if (this.#fd === undefined) return;
    poller().remove(this.#fd);
    this.#fd = undefined;
    this.release();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  protected demandOpen(op: string): void {
    if (this.#fd === undefined) throw new ClosedError(op, this.#what);
  }
}
