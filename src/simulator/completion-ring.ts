import { SeededRandom } from "../bench/random.js";
import type { EspSink } from "../esp/outbound.js";
import type { Slab } from "../sys/slab.js";
import type { FaultName } from "./faults.js";

interface Pending {
  readonly packet: Uint8Array;
  /** Hands the packet on. */
  readonly complete: () => void;
}

/** Under "completion-late" so many packets may overtake one. */
const LATE_WINDOW = 64;
/** What a device takes at a time under "backlog-full"; and under "completion-never", where its places run out. */
const SMALL_DEPTH = 4;
const LEAKING_DEPTH = 16;
const ONE_IN = 4;

/**
 * Packets that a device works on: at most `depth` at a time, and each may be overtaken by up to `window` others. A packet
 * is counted in before it is encrypted and copied in afterwards, so that what is under way no longer needs the sender's
 * memory.
 */
export class CompletionRing {
  readonly #depth: number;
  readonly #window: number;
  readonly #faults: ReadonlySet<FaultName>;
  readonly #random: SeededRandom;
  readonly #pending: Pending[] = [];
  /** Taken and not committed: the next commit is its. */
  #taken = 0;
  /** Packets whose completion never comes. */
  #lost = 0;

  constructor(completion: { depth: number; window: number }, faults: ReadonlySet<FaultName>, seed: number) {
    this.#depth = depthOf(completion.depth, faults);
    this.#window = faults.has("completion-late") ? LATE_WINDOW : completion.window;
    this.#faults = faults;
    this.#random = new SeededRandom(seed ^ 0x5bd1e995);
  }

  get inFlight(): number {
    return this.#pending.length + this.#taken + this.#lost;
  }

  /** Room for one more packet. @returns false when the device takes none now (crypto_enqueue_request: ENOSPC) */
  take(): boolean {
    if (this.inFlight >= this.#depth) return false;
    this.#taken++;
    return true;
  }

  /** For a packet that was taken and could not be encrypted. */
  giveBack(): void {
    this.#taken--;
  }

  /** Stands in front of the sink that packets go to when they are done; those that were not taken pass by. */
  over<S>(inner: EspSink<S>, slab: Slab): EspSink<S> & { poll(): void } {
    let place = 0;
    return {
      reserve: (size) => {
        place = inner.reserve(size);
        return place;
      },
      commit: (state, link, size, tos) => {
        if (this.#taken === 0) {
          inner.commit(state, link, size, tos);
          return;
        }
        this.#taken--;
        const packet = slab.bytes.slice(place, place + size);
        this.#add({
          packet,
          complete: () => {
            slab.bytes.set(packet, inner.reserve(size));
            inner.commit(state, link, size, tos);
          },
        });
      },
      poll: () => {
        while (this.#pending.length > 0) this.#completeOne();
      },
    };
  }

  #add(pending: Pending): void {
    if (this.#strikes("completion-never")) {
      this.#lost++;
      return;
    }
    this.#pending.push(pending);
    // Under "backlog-full" nothing is done before all that was handed over is.
    if (!this.#faults.has("backlog-full") && this.#pending.length > this.#window) this.#completeOne();
  }

  #completeOne(): void {
    const [done] = this.#pending.splice(this.#random.below(this.#pending.length), 1);
    done?.complete();
    if (this.#strikes("completion-twice")) done?.complete();
  }

  #strikes(fault: FaultName): boolean {
    return this.#faults.has(fault) && this.#random.below(ONE_IN) === 0;
  }
}

function depthOf(depth: number, faults: ReadonlySet<FaultName>): number {
  if (faults.has("backlog-full")) return SMALL_DEPTH;
  return faults.has("completion-never") ? LEAKING_DEPTH : depth;
}
