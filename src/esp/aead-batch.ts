import type { Slab } from "../sys/slab.js";
import type { Opener, Sealer } from "./aead.js";
import { CipherBatch } from "./cipher-batch.js";
import { ESP_IV } from "./packet.js";
import { NONCE_SIZE, SALT_SIZE } from "./suite.js";

const IV_SIZE = NONCE_SIZE - SALT_SIZE;
const PAYLOAD = ESP_IV + IV_SIZE;

/** For a packet that is not to wait. */
const single = new CipherBatch(1);

/** AES-GCM or ChaCha20-Poly1305 by native/cipher_batch.c: both have this nonce, additional data and ICV (RFC 4106, RFC 7634). */
export class BatchAead implements Sealer, Opener {
  readonly cipher: Slab;
  readonly #slab: Slab;
  readonly #low: number;
  readonly #high: number;
  readonly #free: () => void;

  /**
   * @param slab that the packets are in
   * @param cipher of makeCipher
   * @param free wipes and frees a key that is elsewhere
   */
  constructor(slab: Slab, cipher: Slab, free = () => {}) {
    this.#slab = slab;
    this.cipher = cipher;
    this.#low = cipher.low | 0;
    this.#high = cipher.high | 0;
    this.#free = free;
  }

  seal(packet: number, sequenceHigh: number, source: number, length: number): boolean {
    return this.#runAlone(packet, sequenceHigh, source, length);
  }

  open(packet: number, sequenceHigh: number, length: number): boolean {
    return this.#runAlone(packet, sequenceHigh, packet + PAYLOAD, length);
  }

  queue(batch: CipherBatch, packet: number, sequenceHigh: number, source: number, length: number): void {
    batch.add(this.#low, this.#high, packet, sequenceHigh, source, length);
  }

  queueOpen(batch: CipherBatch, packet: number, sequenceHigh: number, length: number): void {
    batch.add(this.#low, this.#high, packet, sequenceHigh, packet + PAYLOAD, length);
  }

  close(): void {
    this.#free();
    this.cipher.bytes.fill(0);
  }

  #runAlone(packet: number, sequenceHigh: number, source: number, length: number): boolean {
    single.add(this.#low, this.#high, packet, sequenceHigh, source, length);
    single.run(this.#slab);
    single.clear();
    return single.worked(0);
  }
}
