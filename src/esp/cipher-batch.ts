import { CallList } from "../sys/call-list.js";
import { Slab } from "../sys/slab.js";
import { ESP_IV, ESP_SEQUENCE } from "./packet.js";

/** Packets in one batch at most: a GSO packet's segments, or a received message's datagrams. */
export const BATCH_PACKETS = 64;
/** OpenSSL takes five for one packet. */
const MAX_CALLS = 5;

/** Scratch memory of each packet in a batch: nonce, additional data, a length that some call reports, and an ICV. */
export const NONCE = 0;
export const AAD = 16;
export const WRITTEN = 32;
export const TAG = 48;
const SLOT_SIZE = 64;

/** Tells of a packet that its cipher put into a batch which has run since. */
export interface BatchCipher {
  /**
   * @param call index of the first of its calls
   * @param slot offset of its scratch memory
   * @param icv offset of its ICV in the packets' Slab
   */
  worked(batch: CipherBatch, call: number, slot: number, icv: number): boolean;
}

const WORKED: BatchCipher = { worked: () => true };
const FAILED: BatchCipher = { worked: () => false };

/** Packets to be sealed or opened in one foreign call, each by the cipher of its SA. */
export class CipherBatch {
  /** Packets in it. */
  length = 0;
  readonly calls = new CallList(BATCH_PACKETS * MAX_CALLS);
  readonly scratch = new Slab(BATCH_PACKETS * SLOT_SIZE);
  readonly #ciphers: BatchCipher[] = [];
  readonly #firstCall = new Int32Array(BATCH_PACKETS);
  readonly #icv = new Int32Array(BATCH_PACKETS);

  get full(): boolean {
    return this.length === BATCH_PACKETS;
  }

  /** Begins a packet, whose calls the cipher adds next. @returns the offset of its scratch memory */
  add(cipher: BatchCipher, icv: number): number {
    const index = this.length++;
    this.#ciphers[index] = cipher;
    this.#firstCall[index] = this.calls.length;
    this.#icv[index] = icv;
    return index * SLOT_SIZE;
  }

  /** Writes a packet's nonce, salt and IV, to its slot. @param salt in network order, read as a number */
  writeNonce(slot: number, packets: DataView, packet: number, salt: number): void {
    const { view } = this.scratch;
    view.setUint32(slot + NONCE, salt);
    view.setUint32(slot + NONCE + 4, packets.getUint32(packet + ESP_IV));
    view.setUint32(slot + NONCE + 8, packets.getUint32(packet + ESP_IV + 4));
  }

  /** Writes the additional data with an extended sequence number (RFC 4106 section 5) to a packet's slot. */
  writeExtendedAad(slot: number, packets: DataView, packet: number, sequenceHigh: number): void {
    const { view } = this.scratch;
    view.setUint32(slot + AAD, packets.getUint32(packet));
    view.setUint32(slot + AAD + 4, sequenceHigh);
    view.setUint32(slot + AAD + 8, packets.getUint32(packet + ESP_SEQUENCE));
  }

  /** Adds a packet that another way has sealed or opened already. */
  addDone(worked: boolean): void {
    this.add(worked ? WORKED : FAILED, 0);
  }

  /** Makes all calls. Afterwards each packet can be asked about, until `clear`. */
  run(): void {
    this.calls.run();
  }

  /** Whether the packet that was added as number `index` was sealed, or is authentic. */
  worked(index: number): boolean {
    const cipher = this.#ciphers[index];
    return (
      cipher?.worked(this, this.#firstCall[index] ?? 0, index * SLOT_SIZE, this.#icv[index] ?? 0) ?? false
    );
  }

  /** For a packet that is not to wait: runs the batch, of that packet alone. @returns whether it worked */
  runOne(): boolean {
    this.run();
    const worked = this.worked(0);
    this.clear();
    return worked;
  }

  clear(): void {
    this.length = 0;
    this.calls.length = 0;
  }
}
