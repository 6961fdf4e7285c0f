import { readFileSync } from "node:fs";
import koffi from "koffi";
import { Slab } from "../sys/slab.js";
import type { AeadBackend, Opener, Sealer } from "./aead.js";
import { AAD_SIZE, ICV_SIZE } from "./packet.js";
import { IV_SIZE, NONCE_SIZE, SALT_SIZE, SUITES, type SuiteName } from "./suite.js";

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

export type MbImplementation = (typeof IMPLEMENTATIONS)[number]["name"];

/** The implementations that this CPU can run, fastest first. */
export function mbImplementations(): readonly MbImplementation[] {
  const flags = new Set(/^flags\s*:(.*)$/m.exec(readFileSync("/proc/cpuinfo", "utf8"))?.[1]?.split(" "));
  return IMPLEMENTATIONS.filter(({ needs }) => needs.every((flag) => flags.has(flag))).map(
    ({ name }) => name,
  );
}

/** intel-ipsec-mb.h: struct gcm_key_data is aligned to 64 bytes, and no more than this in any 1.x of the library. */
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

/** Offsets in an SA's own block, in front of its key data. */
const CONTEXT = 0;
const NONCE = CONTEXT_SIZE;
const TAG = NONCE + 16;
const KEY_DATA = 320;

class MbAead implements Sealer, Opener {
  readonly #calls: GcmCalls;
  readonly #slab: Slab;
  readonly #own = new Slab(KEY_DATA + KEY_DATA_SIZE + KEY_DATA_ALIGNMENT);
  readonly #keyData: number;
  readonly #context: number;
  readonly #nonce: number;
  readonly #tag: number;

  constructor(calls: GcmCalls, slab: Slab, keySize: number, keymat: Uint8Array) {
    const { bytes, base } = this.#own;
    this.#calls = calls;
    this.#slab = slab;
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

  seal(aad: number, iv: number, source: number, length: number, target: number): boolean {
    const base = this.#slab.base;
    const to = base + target;
    this.#setIv(iv);
    this.#calls.encrypt(
      this.#keyData,
      this.#context,
      to,
      base + source,
      length,
      this.#nonce,
      base + aad,
      AAD_SIZE,
      to + length,
      ICV_SIZE,
    );
    return true;
  }

  /** The library writes the text and the tag that it should have had; whether they agree is for us to say. */
  open(aad: number, iv: number, source: number, length: number, target: number): boolean {
    const base = this.#slab.base;
    this.#setIv(iv);
    this.#calls.decrypt(
      this.#keyData,
      this.#context,
      base + target,
      base + source,
      length,
      this.#nonce,
      base + aad,
      AAD_SIZE,
      this.#tag,
      ICV_SIZE,
    );
    // All of the tag is compared, whatever its first bytes say: the time taken tells a forger nothing.
    const expected = this.#own.view;
    const received = this.#slab.view;
    const at = source + length;
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
    to.setUint32(NONCE + NONCE_SIZE - IV_SIZE / 2, from.getUint32(iv + IV_SIZE / 2));
  }
}

/**
 * Intel's Multi-Buffer Crypto for IPsec, version 1 (Debian: libipsec-mb1).
 * @param implementation the fastest that this CPU can run, unless a test wants another
 * @returns null where the library or the CPU's instructions are missing
 */
export function createIpsecMb(implementation = mbImplementations()[0]): AeadBackend | null {
  if (implementation === undefined) return null;
  let calls: Record<SuiteName, GcmCalls>;
  try {
    const library = koffi.load("libIPSec_MB.so.1");
    calls = {
      "aes128-gcm": bindGcm(library, 128, implementation),
      "aes256-gcm": bindGcm(library, 256, implementation),
    };
  } catch {
    // Not installed, or a build without these symbols: the caller falls back.
    return null;
  }
  const make = (slab: Slab, suite: SuiteName, keymat: Uint8Array) =>
    new MbAead(calls[suite], slab, SUITES[suite].keySize, keymat);
  return { name: "ipsec-mb", sealer: make, opener: make };
}
