import { readFileSync } from "node:fs";
import { join } from "node:path";
import koffi from "koffi";
import { type CallList, functionAddress } from "../sys/call-list.js";
import { packageRoot } from "../sys/paths.js";
import { Slab } from "../sys/slab.js";
import type { AeadBackend, CipherSpec, Opener, Sealer } from "./aead.js";
import { AAD, type BatchCipher, CipherBatch, NONCE, TAG } from "./cipher-batch.js";
import { ESP_IV } from "./packet.js";
import { keymatSize, NONCE_SIZE, SALT_SIZE, type SuiteName } from "./suite.js";

/**
 * The implementations that the library holds, fastest first, with the CPU flags (/proc/cpuinfo) that each needs: those
 * of lib/x86_64/cpu_feature.c. Called by name they check nothing themselves.
 */
const IMPLEMENTATIONS = [
  {
    name: "vaes_avx512",
    needs: ["avx512f", "avx512dq", "avx512bw", "avx512vl", "vaes", "vpclmulqdq", "bmi2"],
  },
  { name: "vaes_avx2", needs: ["avx2", "vaes", "vpclmulqdq", "bmi2"] },
  { name: "avx_gen4", needs: ["avx2", "bmi2", "aes", "pclmulqdq"] },
  { name: "avx_gen2", needs: ["avx", "aes", "pclmulqdq"] },
  { name: "sse", needs: ["sse4_2", "aes", "pclmulqdq"] },
] as const;

/**
 * Versions 2 and 1, whose functions for AES-GCM are the same: Debian's libipsec-mb2 from 13 on, the same where set-up put
 * it (scripts/fetch-ipsec-mb.js), and Debian 12's libipsec-mb1.
 */
const LIBRARIES = [
  "libIPSec_MB.so.2",
  join(packageRoot, "dist", "native", "libIPSec_MB.so.2"),
  "libIPSec_MB.so.1",
];

export type MbImplementation = (typeof IMPLEMENTATIONS)[number]["name"];

/** The implementations that this CPU can run, fastest first. */
export function mbImplementations(): readonly MbImplementation[] {
  const flags = new Set(/^flags\s*:(.*)$/m.exec(readFileSync("/proc/cpuinfo", "utf8"))?.[1]?.split(" "));
  return IMPLEMENTATIONS.filter(({ needs }) => needs.every((flag) => flags.has(flag))).map(
    ({ name }) => name,
  );
}

/** intel-ipsec-mb.h: struct gcm_key_data is aligned to 64 bytes, and no more than this in any 1.x or 2.0 of the library. */
const KEY_DATA_SIZE = 4096;
const KEY_DATA_ALIGNMENT = 64;
/** struct gcm_context_data, rounded up; and what follows it in an SA's own block: the salt, then the key data. */
const CONTEXT_SIZE = 256;
const SALT = CONTEXT_SIZE;
const KEY_DATA = SALT + SALT_SIZE;

interface GcmCalls {
  readonly prepare: (key: number, keyData: number) => void;
  /** Addresses of functions (key data, context, target, source, length, nonce, AAD, its size, tag, its size). */
  readonly encrypt: number;
  readonly decrypt: number;
}

const ARGUMENT = {
  keyData: 0,
  context: 1,
  target: 2,
  source: 3,
  length: 4,
  nonce: 5,
  aad: 6,
  aadSize: 7,
  tag: 8,
  tagSize: 9,
} as const;

function bindGcm(library: string, bits: number, implementation: MbImplementation): GcmCalls {
  const named = (operation: string) => `aes_gcm_${operation}_${bits}_${implementation}`;
  return {
    prepare: koffi.load(library).func(named("pre"), "void", ["uintptr_t", "uintptr_t"]),
    encrypt: functionAddress(library, named("enc")),
    decrypt: functionAddress(library, named("dec")),
  };
}

const IV_SIZE = NONCE_SIZE - SALT_SIZE;
const ICV_SIZE = 16;
const PAYLOAD = ESP_IV + IV_SIZE;
/** RFC 4106 section 5: SPI and sequence number, of 32 or 64 bits. */
const AAD_SIZE = 8;
const ESN_AAD_SIZE = 12;

class MbAead implements Sealer, Opener, BatchCipher {
  readonly #calls: GcmCalls;
  readonly #slab: Slab;
  readonly #own = new Slab(KEY_DATA + KEY_DATA_SIZE + KEY_DATA_ALIGNMENT);
  readonly #single: CipherBatch;
  readonly #keyData: number;
  readonly #esn: boolean;
  readonly #encrypts: boolean;

  /** @param single where a packet that is not to wait gets into */
  constructor(
    calls: GcmCalls,
    slab: Slab,
    { suite, esn, keymat }: CipherSpec,
    encrypts: boolean,
    single: CipherBatch,
  ) {
    const { bytes, base } = this.#own;
    const keySize = keymatSize(suite) - SALT_SIZE;
    this.#calls = calls;
    this.#slab = slab;
    this.#esn = esn;
    this.#encrypts = encrypts;
    this.#single = single;
    this.#keyData = Math.ceil((base + KEY_DATA) / KEY_DATA_ALIGNMENT) * KEY_DATA_ALIGNMENT;
    bytes.set(keymat.subarray(keySize, keySize + SALT_SIZE), SALT);
    const key = new Slab(keySize);
    key.bytes.set(keymat.subarray(0, keySize));
    calls.prepare(key.base, this.#keyData);
    key.bytes.fill(0);
  }

  seal(packet: number, sequenceHigh: number, source: number, length: number): boolean {
    this.queue(this.#single, packet, sequenceHigh, source, length);
    return this.#single.runOne();
  }

  open(packet: number, sequenceHigh: number, length: number): boolean {
    this.queueOpen(this.#single, packet, sequenceHigh, length);
    return this.#single.runOne();
  }

  queue(batch: CipherBatch, packet: number, sequenceHigh: number, source: number, length: number): void {
    const target = packet + PAYLOAD;
    const slot = batch.add(this, target + length);
    this.#add(batch, slot, packet, sequenceHigh, source, length, this.#slab, target + length);
  }

  queueOpen(batch: CipherBatch, packet: number, sequenceHigh: number, length: number): void {
    const text = packet + PAYLOAD;
    const slot = batch.add(this, text + length);
    this.#add(batch, slot, packet, sequenceHigh, text, length, batch.scratch, slot + TAG);
  }

  /** The library writes the text and the tag that it should have had; whether they agree is for us to say. */
  worked({ scratch }: CipherBatch, _call: number, slot: number, icv: number): boolean {
    if (this.#encrypts) return true;
    // All of the tag is compared, whatever its first bytes say: the time taken tells a forger nothing.
    const expected = scratch.view;
    const received = this.#slab.view;
    let difference = 0;
    for (let i = 0; i < ICV_SIZE; i += 4)
      difference |= expected.getInt32(slot + TAG + i) ^ received.getInt32(icv + i);
    return difference === 0;
  }

  close(): void {
    this.#own.bytes.fill(0);
  }

  #add(
    batch: CipherBatch,
    slot: number,
    packet: number,
    sequenceHigh: number,
    source: number,
    length: number,
    tagIn: Slab,
    tag: number,
  ): void {
    const { calls, scratch } = batch;
    const from = this.#slab;
    batch.writeNonce(slot, from.view, packet, this.#own.view.getUint32(SALT));
    if (this.#esn) batch.writeExtendedAad(slot, from.view, packet, sequenceHigh);
    const call = calls.claim(this, setConstants);
    calls.setAddress(call, ARGUMENT.target, from, packet + PAYLOAD);
    calls.setAddress(call, ARGUMENT.source, from, source);
    calls.setWord(call, ARGUMENT.length, length);
    calls.setAddress(call, ARGUMENT.nonce, scratch, slot + NONCE);
    if (this.#esn) calls.setAddress(call, ARGUMENT.aad, scratch, slot + AAD);
    else calls.setAddress(call, ARGUMENT.aad, from, packet);
    calls.setAddress(call, ARGUMENT.tag, tagIn, tag);
  }

  /** Adds a call with what is the same for every packet of the SA. */
  addCall(calls: CallList): void {
    const call = calls.add(this.#encrypts ? this.#calls.encrypt : this.#calls.decrypt);
    calls.setArgument(call, ARGUMENT.keyData, this.#keyData);
    calls.setArgument(call, ARGUMENT.context, this.#own.base);
    calls.setArgument(call, ARGUMENT.aadSize, this.#esn ? ESN_AAD_SIZE : AAD_SIZE);
    calls.setArgument(call, ARGUMENT.tagSize, ICV_SIZE);
  }
}

const setConstants = (cipher: MbAead, calls: CallList): void => cipher.addCall(calls);

/** @returns null where no library has the implementation */
function bindAll(implementation: MbImplementation): Partial<Record<SuiteName, GcmCalls>> | null {
  for (const library of LIBRARIES)
    try {
      return {
        "aes128-gcm": bindGcm(library, 128, implementation),
        "aes256-gcm": bindGcm(library, 256, implementation),
      };
    } catch {
      // Not installed, or a version or build without these functions: another may have them.
    }
  return null;
}

/**
 * Intel's Multi-Buffer Crypto for IPsec, for AES-GCM. Its other ciphers want many jobs
 * at a time to be faster than OpenSSL.
 * @param others serves the other suites
 * @param implementations to be tried: those that this CPU can run, the fastest first, unless a test wants another
 * @returns null where the library or the CPU's instructions are missing
 */
export function createIpsecMb(
  others: AeadBackend,
  implementations: readonly MbImplementation[] = mbImplementations(),
): AeadBackend | null {
  for (const implementation of implementations) {
    const calls = bindAll(implementation);
    if (calls !== null) return backendOf(calls, others);
  }
  return null;
}

function backendOf(calls: Partial<Record<SuiteName, GcmCalls>>, others: AeadBackend): AeadBackend {
  const single = new CipherBatch();
  return {
    name: "ipsec-mb",
    sealer(slab, spec) {
      const gcm = calls[spec.suite];
      return gcm === undefined ? others.sealer(slab, spec) : new MbAead(gcm, slab, spec, true, single);
    },
    opener(slab, spec) {
      const gcm = calls[spec.suite];
      return gcm === undefined ? others.opener(slab, spec) : new MbAead(gcm, slab, spec, false, single);
    },
  };
}
