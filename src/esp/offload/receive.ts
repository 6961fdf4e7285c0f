/** The stack's half of receiving from a device: net/xfrm/xfrm_input.c, where xo->flags has CRYPTO_DONE. */
import { COUNTER, type Counters } from "../statistics.js";
import { CRYPTO_STATUS, type RxContext, XO_FLAGS } from "./contract.js";
import type { OffloadCounters } from "./counters.js";

const AUTH_FAILED =
  CRYPTO_STATUS.TRANSPORT_AH_AUTH_FAILED |
  CRYPTO_STATUS.TRANSPORT_ESP_AUTH_FAILED |
  CRYPTO_STATUS.TUNNEL_AH_AUTH_FAILED |
  CRYPTO_STATUS.TUNNEL_ESP_AUTH_FAILED;

/** What the stack does with a packet after its device had it. */
export const RECEIVED = {
  /** Dropped, and counted. */
  DROP: 0,
  /** The stack is to decrypt it. */
  ENCRYPTED: 1,
  /** Decrypted, with its trailer. */
  DECRYPTED: 2,
  /** Decrypted, its trailer is gone: `nextHeader` and `size` say what it said. */
  BARE: 3,
} as const;
export type Received = (typeof RECEIVED)[keyof typeof RECEIVED];

/** What an inbound SA asks about each packet before anything else: what its device made of it. */
export class InboundOffload {
  readonly #device: RxContext;
  readonly #counted: OffloadCounters;
  readonly #counters: Counters;

  constructor(device: RxContext, counted: OffloadCounters, counters: Counters) {
    this.#device = device;
    this.#counted = counted;
    this.#counters = counters;
  }

  get nextHeader(): number {
    return this.#device.nextHeader;
  }

  /** Bytes of the payload. */
  get size(): number {
    return this.#device.size;
  }

  /** As Opener.open, the ciphertext at `text`; replay is for the stack to check, afterwards. */
  receive(packet: number, sequenceHigh: number, text: number, length: number): Received {
    const device = this.#device;
    // The stack deleted the SA with its device.
    if (!device.alive) return this.#drop(COUNTER.XfrmInNoStates);
    const xo = device.receive(packet, sequenceHigh, text, length);
    if ((xo & XO_FLAGS.CRYPTO_DONE) === 0) {
      this.#counted.countSoftware();
      return RECEIVED.ENCRYPTED;
    }
    if ((xo & XO_FLAGS.STALE_SECPATH) !== 0) return this.#drop(COUNTER.XfrmInStateInvalid);
    if ((xo & CRYPTO_STATUS.SUCCESS) === 0) {
      const proto = (xo & (AUTH_FAILED | CRYPTO_STATUS.INVALID_PROTOCOL)) !== 0;
      return this.#drop(proto ? COUNTER.XfrmInStateProtoError : COUNTER.XfrmInBufferError);
    }
    this.#counted.countHardware();
    return (xo & XO_FLAGS.ESP_NO_TRAILER) === 0 ? RECEIVED.DECRYPTED : RECEIVED.BARE;
  }

  close(): void {
    this.#device.close();
  }

  #drop(counter: number): Received {
    this.#counted.countDrop();
    this.#counters.count(counter);
    return RECEIVED.DROP;
  }
}
