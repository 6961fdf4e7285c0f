import koffi from "koffi";
import { functionAddress } from "../sys/dynamic-linking.js";
import { nativePath } from "../sys/paths.js";
import { Slab } from "../sys/slab.js";

/** Packets in one batch at most: a GSO packet's segments, or a received message's datagrams. */
export const BATCH_PACKETS = 64;

/** native/cipher.h: struct cipher. */
const PROCESS = 0;
const FUNCTIONS = 8;
const FUNCTION_COUNT = 4;
const KEY = 40;
const SALT = 48;
const ESN = 52;
const CIPHER_SIZE = 56;
/** native/cipher_batch.c fetches what stands this far behind the beginning of a struct cipher together with it. */
export const KEY_PLACE = 64;

const LIBRARY = nativePath("cipher_batch");

/** How a packet is sealed or opened: native/cipher_batch.c has these functions. */
const PROCESSES = ["ipsec_mb_seal", "ipsec_mb_open", "evp_seal", "evp_open"] as const;
export type Process = (typeof PROCESSES)[number];
const addresses = Object.fromEntries(
  PROCESSES.map((name) => [name, functionAddress(LIBRARY, name)]),
) as Record<Process, number>;

export interface CipherFields {
  readonly process: Process;
  /** Addresses of the library's functions, in the order of native/cipher.h. */
  readonly functions: readonly number[];
  /** Address of the library's context; the key schedule at KEY_PLACE of `memory` if left out. */
  readonly key?: number;
  readonly salt: Uint8Array;
  /** Extended sequence numbers (RFC 4304). */
  readonly esn: boolean;
}

/** @returns the memory of a struct cipher; wipe it when the SA ends */
export function makeCipher(
  { process, functions, key, salt, esn }: CipherFields,
  cipher = new Slab(CIPHER_SIZE),
): Slab {
  cipher.setPointer(PROCESS, addresses[process]);
  for (let i = 0; i < FUNCTION_COUNT; i++) cipher.setPointer(FUNCTIONS + i * 8, functions[i] ?? 0);
  cipher.setPointer(KEY, key ?? cipher.base + KEY_PLACE);
  cipher.bytes.set(salt, SALT);
  cipher.view.setUint32(ESN, esn ? 1 : 0, true);
  return cipher;
}

/** struct job, in words of 4 bytes: an array of them is written twice as fast as through a DataView. */
const JOB_WORDS = 8;
const JOB = { cipher: 0, packet: 2, source: 3, length: 4, sequenceHigh: 5, worked: 6 } as const;

const runJobs: (jobs: number, count: number, packets: number) => void = koffi
  .load(LIBRARY)
  .func("cipher_batch_run", "void", ["uintptr_t", "size_t", "uintptr_t"]);

/** Packets to be sealed or opened in one foreign call, each by the cipher of its SA. They lie in one Slab. */
export class CipherBatch {
  /** Packets in it. */
  length = 0;
  readonly #capacity: number;
  readonly #jobs: Slab;
  readonly #words: Uint32Array;

  constructor(capacity = BATCH_PACKETS) {
    this.#capacity = capacity;
    this.#jobs = new Slab(capacity * JOB_WORDS * 4);
    this.#words = new Uint32Array(this.#jobs.bytes.buffer);
  }

  get full(): boolean {
    return this.length === this.#capacity;
  }

  /**
   * Adds a packet whose SPI, sequence number and IV are in place.
   * @param low of the address of the SA's struct cipher the lower half, and `high` the other: asking the Slab for them would
   * cost a cache miss or two for each of many SAs
   * @param source offset of what is encrypted or decrypted, `length` bytes; in the packet itself when it is opened
   */
  add(low: number, high: number, packet: number, sequenceHigh: number, source: number, length: number): void {
    const words = this.#words;
    const at = this.length++ * JOB_WORDS;
    words[at + JOB.cipher] = low;
    words[at + JOB.cipher + 1] = high;
    words[at + JOB.packet] = packet;
    words[at + JOB.source] = source;
    words[at + JOB.length] = length;
    words[at + JOB.sequenceHigh] = sequenceHigh;
  }

  /** Adds a packet that another way has sealed or opened already. */
  addDone(worked: boolean): void {
    const at = this.length++ * JOB_WORDS;
    this.#words[at + JOB.cipher] = 0;
    this.#words[at + JOB.cipher + 1] = 0;
    this.#words[at + JOB.worked] = worked ? 1 : 0;
  }

  /** Seals or opens all. Afterwards each packet can be asked about, until `clear`. @param packets where they are */
  run(packets: Slab): void {
    if (this.length > 0) runJobs(this.#jobs.base, this.length, packets.base);
  }

  /** Whether the packet that was added as number `index` was sealed, or is authentic. */
  worked(index: number): boolean {
    return ((this.#words[index * JOB_WORDS + JOB.worked] ?? 0) & 1) !== 0;
  }

  clear(): void {
    this.length = 0;
  }
}
