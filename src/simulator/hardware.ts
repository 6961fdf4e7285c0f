import { SeededRandom } from "../bench/random.js";
import type { Opener, Sealer } from "../esp/aead.js";
import {
  CRYPTO_STATUS,
  type OffloadHardware,
  type RxContext,
  type TxContext,
  XO_FLAGS,
} from "../esp/offload/contract.js";
import type { EspSink } from "../esp/outbound.js";
import { TRAILER_SIZE, writeTrailer } from "../esp/packet.js";
import type { Slab } from "../sys/slab.js";
import { CompletionRing } from "./completion-ring.js";
import { FAULT_STATUS, type FaultName } from "./faults.js";
import { PortMemory } from "./port-memory.js";
import type { NicProfile } from "./profile.js";
import { SaMemory } from "./sa-memory.js";

/** What the configuring thread says of an SA to the one that sends or receives with it. */
export interface ContextSpec {
  readonly port: SharedArrayBuffer;
  readonly sa: SharedArrayBuffer;
  /** Who writes the trailer of what is sent, or removes that of what is received. */
  readonly trailer: "stack" | "device";
}

/** What a thread needs to know of the devices. */
export interface HardwareSpec {
  readonly completion: NonNullable<NicProfile["completion"]> | null;
  readonly faults: readonly FaultName[];
  readonly seed: number;
  /** A fault strikes one packet of so many. */
  readonly oneIn: number;
}

/** Strikes a share of the packets, picked by a seed. */
class Dice {
  readonly #random: SeededRandom;
  readonly #faults: ReadonlySet<FaultName>;
  readonly #oneIn: number;

  constructor({ seed, faults, oneIn }: HardwareSpec) {
    this.#random = new SeededRandom(seed);
    this.#faults = new Set(faults);
    this.#oneIn = oneIn;
  }

  strikes(fault: FaultName): boolean {
    return this.#faults.size > 0 && this.#faults.has(fault) && this.#random.below(this.#oneIn) === 0;
  }
}

/** The data plane of simulated devices, for one thread: it does encrypt and decrypt. */
export function createHardware(spec: HardwareSpec): OffloadHardware {
  const dice = new Dice(spec);
  const ring = ringOf(spec);
  return {
    tx: (context, slab, sealer) => new SimulatedTx(context as ContextSpec, slab, sealer, dice, ring),
    rx: (context, slab, opener) => new SimulatedRx(context as ContextSpec, slab, opener, dice, spec.faults),
    sink: <S>(inner: EspSink<S>, slab: Slab) => (ring === null ? passing(inner) : ring.over(inner, slab)),
  };
}

function ringOf({ completion, faults, seed }: HardwareSpec): CompletionRing | null {
  const faulty = faults.some((fault) => fault.startsWith("completion-") || fault === "backlog-full");
  if (completion === null && !faulty) return null;
  return new CompletionRing(completion ?? { depth: 64, window: 8 }, new Set(faults), seed);
}

/** A device that is done when it is handed a packet. */
function passing<S>(inner: EspSink<S>): EspSink<S> & { poll(): void } {
  return {
    reserve: (size) => inner.reserve(size),
    commit: (state, link, size, tos) => inner.commit(state, link, size, tos),
    poll: () => {},
  };
}

class SimulatedTx implements TxContext {
  readonly #port: PortMemory;
  readonly #sa: SaMemory;
  readonly #insertsTrailer: boolean;
  readonly #slab: Slab;
  readonly #sealer: Sealer;
  readonly #dice: Dice;
  readonly #ring: CompletionRing | null;

  constructor(
    { port, sa, trailer }: ContextSpec,
    slab: Slab,
    sealer: Sealer,
    dice: Dice,
    ring: CompletionRing | null,
  ) {
    this.#port = new PortMemory(port);
    this.#sa = new SaMemory(sa);
    this.#insertsTrailer = trailer === "device";
    this.#slab = slab;
    this.#sealer = sealer;
    this.#dice = dice;
    this.#ring = ring;
  }

  get features(): number {
    return this.#port.features;
  }

  get alive(): boolean {
    return this.#sa.alive && this.#port.up;
  }

  get present(): boolean {
    return this.#sa.present;
  }

  advanceEsn(high: number): void {
    this.#sa.esnHigh = high;
  }

  rerouted(): boolean {
    return this.#dice.strikes("wrong-device");
  }

  seal(packet: number, sequenceHigh: number, source: number, length: number): boolean {
    if (this.#ring !== null && !this.#ring.take()) return false;
    if (this.#insertsTrailer) this.#writeTrailer(source, length);
    this.#sa.count(length - TRAILER_SIZE - (this.#slab.bytes[source + length - TRAILER_SIZE] ?? 0));
    const sealed = this.#sealer.seal(packet, sequenceHigh, source, length);
    if (!sealed) this.#ring?.giveBack();
    return sealed;
  }

  close(): void {
    this.#sealer.close();
  }

  /**
   * The stack's trailer is taken off (mlx5e_ipsec_remove_trailer), only its length and next header go into the
   * descriptor, and the device writes it anew.
   */
  #writeTrailer(source: number, length: number): void {
    const { bytes } = this.#slab;
    const end = source + length;
    const padding = bytes[end - 2] ?? 0;
    const nextHeader = bytes[end - 1] ?? 0;
    const start = end - TRAILER_SIZE - padding;
    for (let at = start; at < end; at++) bytes[at] = 0;
    writeTrailer(bytes, start, padding, nextHeader);
  }
}

class SimulatedRx implements RxContext {
  nextHeader = 0;
  size = 0;
  readonly #port: PortMemory;
  readonly #sa: SaMemory;
  readonly #removesTrailer: boolean;
  readonly #slab: Slab;
  readonly #opener: Opener;
  readonly #dice: Dice;
  readonly #statusFaults: readonly FaultName[];

  constructor(
    { port, sa, trailer }: ContextSpec,
    slab: Slab,
    opener: Opener,
    dice: Dice,
    faults: readonly FaultName[],
  ) {
    this.#port = new PortMemory(port);
    this.#sa = new SaMemory(sa);
    this.#removesTrailer = trailer === "device";
    this.#slab = slab;
    this.#opener = opener;
    this.#dice = dice;
    this.#statusFaults = faults.filter((fault) => FAULT_STATUS[fault] !== undefined);
  }

  get alive(): boolean {
    return this.#sa.alive && this.#port.up;
  }

  receive(packet: number, sequenceHigh: number, text: number, length: number): number {
    // A packet of an SA that the port does not have comes up as it was received.
    if (!this.#sa.present) return 0;
    const authentic = this.#opener.open(packet, sequenceHigh, length);
    if (!authentic) return XO_FLAGS.CRYPTO_DONE | CRYPTO_STATUS.TUNNEL_ESP_AUTH_FAILED;
    this.#sa.count(length - TRAILER_SIZE - (this.#slab.bytes[text + length - TRAILER_SIZE] ?? 0));
    if (this.#dice.strikes("lookup-miss")) return 0;
    if (this.#dice.strikes("stale-secpath"))
      return XO_FLAGS.CRYPTO_DONE | XO_FLAGS.STALE_SECPATH | CRYPTO_STATUS.SUCCESS;
    for (const fault of this.#statusFaults) {
      if (this.#dice.strikes(fault)) return XO_FLAGS.CRYPTO_DONE | (FAULT_STATUS[fault] ?? 0);
    }
    return (
      XO_FLAGS.CRYPTO_DONE |
      CRYPTO_STATUS.SUCCESS |
      (this.#removesTrailer ? this.#takeTrailer(text, length) : 0)
    );
  }

  close(): void {
    this.#opener.close();
  }

  /** @returns the flag, or 0 for a trailer that the stack is to judge */
  #takeTrailer(text: number, length: number): number {
    const { bytes } = this.#slab;
    const end = text + length;
    const size = length - TRAILER_SIZE - (bytes[end - TRAILER_SIZE] ?? 0);
    if (size <= 0) return 0;
    this.nextHeader = bytes[end - 1] ?? 0;
    this.size = size;
    for (let at = text + size; at < end; at++) bytes[at] = 0;
    return XO_FLAGS.ESP_NO_TRAILER;
  }
}
