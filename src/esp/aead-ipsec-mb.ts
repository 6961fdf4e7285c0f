import { readFileSync } from "node:fs";
import koffi from "koffi";
import { Slab } from "../sys/slab.js";
import type { AeadBackend, CipherSpec, Opener, Sealer } from "./aead.js";
import { ESP_IV, ESP_SEQUENCE } from "./packet.js";
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
  { name: "avx_gen4", needs: ["avx2", "bmi2", "aes", "pclmulqdq"] },
  { name: "avx_gen2", needs: ["avx", "aes", "pclmulqdq"] },
  { name: "sse", needs: ["sse4_2", "aes", "pclmulqdq"] },
] as const;

/** Versions 1 and 2, whose functions for AES-GCM are the same: Debian's libipsec-mb1 and, from 13 on, libipsec-mb2. */
const LIBRARIES = ["libIPSec_MB.so.1", "libIPSec_MB.so.2"];

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
/** struct gcm_context_data, rounded up. */
const CONTEXT_SIZE = 256;

type GcmCall = (
  keyData: number,
  context: number,
  target: number,
  source: number,
  length: number,
  nonce: number,
  aad: number,
  aadSize: number,
  tag: number,
  tagSize: number,
) => void;

interface GcmCalls {
  readonly prepare: (key: number, keyData: number) => void;
  readonly encrypt: GcmCall;
  readonly decrypt: GcmCall;
}

function bindGcm(
  library: ReturnType<typeof koffi.load>,
  bits: number,
  implementation: MbImplementation,
): GcmCalls {
  const p = "uintptr_t";
  const bind = (operation: string, parameters: number) =>
    library.func(
      `aes_gcm_${operation}_${bits}_${implementation}`,
      "void",
      Array.from({ length: parameters }, () => p),
    );
  return { prepare: bind("pre", 2), encrypt: bind("enc", 10), decrypt: bind("dec", 10) };
}

const IV_SIZE = NONCE_SIZE - SALT_SIZE;
const ICV_SIZE = 16;
const PAYLOAD = ESP_IV + IV_SIZE;
/** RFC 4106 section 5: SPI and sequence number, of 32 or 64 bits. */
const AAD_SIZE = 8;
const ESN_AAD_SIZE = 12;

/** Offsets in an SA's own block, in front of its key data. */
const CONTEXT = 0;
const NONCE = CONTEXT_SIZE;
const TAG = NONCE + 16;
const AAD = TAG + ICV_SIZE;
const KEY_DATA = 320;

class MbAead implements Sealer, Opener {
  readonly #calls: GcmCalls;
  readonly #slab: Slab;
  readonly #own = new Slab(KEY_DATA + KEY_DATA_SIZE + KEY_DATA_ALIGNMENT);
  readonly #keyData: number;
  readonly #context: number;
  readonly #nonce: number;
  readonly #tag: number;
  readonly #esn: boolean;
  readonly #aadSize: number;

  constructor(calls: GcmCalls, slab: Slab, { suite, esn, keymat }: CipherSpec) {
    const { bytes, base } = this.#own;
    const keySize = keymatSize(suite) - SALT_SIZE;
    this.#calls = calls;
    this.#slab = slab;
    this.#esn = esn;
    this.#aadSize = esn ? ESN_AAD_SIZE : AAD_SIZE;
    this.#context = base + CONTEXT;
    this.#nonce = base + NONCE;
    this.#tag = base + TAG;
    this.#keyData = Math.ceil((base + KEY_DATA) / KEY_DATA_ALIGNMENT) * KEY_DATA_ALIGNMENT;
    bytes.set(keymat.subarray(keySize, keySize + SALT_SIZE), NONCE);
    const key = new Slab(keySize);
    key.bytes.set(keymat.subarray(0, keySize));
    calls.prepare(key.base, this.#keyData);
    key.bytes.fill(0);
  }

  seal(packet: number, sequenceHigh: number, source: number, length: number): boolean {
    const base = this.#slab.base;
    const to = base + packet + PAYLOAD;
    this.#setIv(packet + ESP_IV);
    this.#calls.encrypt(
      this.#keyData,
      this.#context,
      to,
      base + source,
      length,
      this.#nonce,
      this.#esn ? this.#extendedAad(packet, sequenceHigh) : base + packet,
      this.#aadSize,
      to + length,
      ICV_SIZE,
    );
    return true;
  }

  /** The library writes the text and the tag that it should have had; whether they agree is for us to say. */
  open(packet: number, sequenceHigh: number, length: number): boolean {
    const base = this.#slab.base;
    const text = packet + PAYLOAD;
    this.#setIv(packet + ESP_IV);
    this.#calls.decrypt(
      this.#keyData,
      this.#context,
      base + text,
      base + text,
      length,
      this.#nonce,
      this.#esn ? this.#extendedAad(packet, sequenceHigh) : base + packet,
      this.#aadSize,
      this.#tag,
      ICV_SIZE,
    );
    // All of the tag is compared, whatever its first bytes say: the time taken tells a forger nothing.
    const expected = this.#own.view;
    const received = this.#slab.view;
    const at = text + length;
    let difference = 0;
    for (let i = 0; i < ICV_SIZE; i += 4)
      difference |= expected.getInt32(TAG + i) ^ received.getInt32(at + i);
    return difference === 0;
  }

  close(): void {
    this.#own.bytes.fill(0);
  }

  #setIv(iv: number): void {
    const from = this.#slab.view;
    const to = this.#own.view;
    to.setUint32(NONCE + SALT_SIZE, from.getUint32(iv));
    to.setUint32(NONCE + SALT_SIZE + 4, from.getUint32(iv + 4));
  }

  #extendedAad(packet: number, sequenceHigh: number): number {
    const from = this.#slab.view;
    const to = this.#own.view;
    to.setUint32(AAD, from.getUint32(packet));
    to.setUint32(AAD + 4, sequenceHigh);
    to.setUint32(AAD + 8, from.getUint32(packet + ESP_SEQUENCE));
    return this.#own.base + AAD;
  }
}

function loadLibrary(): ReturnType<typeof koffi.load> {
  for (const name of LIBRARIES)
    try {
      return koffi.load(name);
    } catch {
      // Another version may be there.
    }
  throw new Error("not installed");
}

/**
 * Intel's Multi-Buffer Crypto for IPsec, for AES-GCM. Its other ciphers want many jobs
 * at a time to be faster than OpenSSL.
 * @param others serves the other suites
 * @param implementation the fastest that this CPU can run, unless a test wants another
 * @returns null where the library or the CPU's instructions are missing
 */
export function createIpsecMb(
  others: AeadBackend,
  implementation = mbImplementations()[0],
): AeadBackend | null {
  if (implementation === undefined) return null;
  let calls: Partial<Record<SuiteName, GcmCalls>>;
  try {
    const library = loadLibrary();
    calls = {
      "aes128-gcm": bindGcm(library, 128, implementation),
      "aes256-gcm": bindGcm(library, 256, implementation),
    };
  } catch {
    // Not installed, or a build without these symbols: the caller falls back.
    return null;
  }
  return {
    name: "ipsec-mb",
    sealer(slab, spec) {
      const gcm = calls[spec.suite];
      return gcm === undefined ? others.sealer(slab, spec) : new MbAead(gcm, slab, spec);
    },
    opener(slab, spec) {
      const gcm = calls[spec.suite];
      return gcm === undefined ? others.opener(slab, spec) : new MbAead(gcm, slab, spec);
    },
  };
}
