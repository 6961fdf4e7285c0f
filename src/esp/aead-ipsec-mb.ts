import { readFileSync } from "node:fs";
import { join } from "node:path";
import koffi from "koffi";
import { functionAddress } from "../sys/dynamic-linking.js";
import { packageRoot } from "../sys/paths.js";
import { Slab } from "../sys/slab.js";
import type { AeadBackend, CipherSpec, Opener, Sealer } from "./aead.js";
import { BatchAead } from "./aead-batch.js";
import { CipherBatch, KEY_PLACE, makeCipher } from "./cipher-batch.js";
import { keymatSize, SALT_SIZE, type SuiteName } from "./suite.js";

/**
 * The implementations that the library holds, the newest first, with the CPU flags (/proc/cpuinfo) that each needs: those
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

/** The implementations that this CPU can run, the newest first. */
export function mbImplementations(): readonly MbImplementation[] {
  const flags = new Set(/^flags\s*:(.*)$/m.exec(readFileSync("/proc/cpuinfo", "utf8"))?.[1]?.split(" "));
  return IMPLEMENTATIONS.filter(({ needs }) => needs.every((flag) => flags.has(flag))).map(
    ({ name }) => name,
  );
}

/** intel-ipsec-mb.h: struct gcm_key_data is aligned so, and no more than this in any 1.x or 2.0 of the library. */
const KEY_DATA_ALIGNMENT = 64;
const KEY_DATA_MAX = 4096;

interface GcmCalls {
  readonly prepare: (key: number, keyData: number) => void;
  /** Bytes of a key schedule. */
  readonly keyDataSize: number;
  /** Addresses of the functions of struct ipsec_mb in native/cipher_batch.c. */
  readonly seal: number;
  readonly open: number;
}

function bindGcm(library: string, bits: number, implementation: MbImplementation): GcmCalls {
  const named = (operation: string) => `aes_gcm_${operation}_${bits}_${implementation}`;
  const prepare = koffi.load(library).func(named("pre"), "void", ["uintptr_t", "uintptr_t"]);
  return {
    prepare,
    keyDataSize: measureKeyData(prepare),
    seal: functionAddress(library, named("enc")),
    open: functionAddress(library, named("dec")),
  };
}

/**
 * What an implementation writes of a key schedule, a quarter of the most that there may be: thousands of SAs are as much
 * better off in the caches.
 */
function measureKeyData(prepare: GcmCalls["prepare"]): number {
  const key = new Slab(32);
  const written = [0x00, 0xff].map((byte) => {
    const data = new Slab(KEY_DATA_MAX, KEY_DATA_ALIGNMENT);
    data.bytes.fill(byte);
    prepare(key.base, data.base);
    return data.bytes.findLastIndex((each) => each !== byte) + 1;
  });
  return Math.max(...written);
}

function makeAead(
  calls: GcmCalls,
  slab: Slab,
  { suite, esn, keymat }: CipherSpec,
  direction: "seal" | "open",
): Sealer & Opener {
  const keySize = keymatSize(suite) - SALT_SIZE;
  const memory = new Slab(KEY_PLACE + calls.keyDataSize, KEY_DATA_ALIGNMENT);
  const key = new Slab(keySize);
  key.bytes.set(keymat.subarray(0, keySize));
  calls.prepare(key.base, memory.base + KEY_PLACE);
  key.bytes.fill(0);
  const process = `ipsec_mb_${direction}` as const;
  const salt = keymat.subarray(keySize);
  const cipher = makeCipher({ process, functions: [calls[direction]], salt, esn }, memory);
  return new BatchAead(slab, cipher);
}

/** @returns null where no library has the implementation */
function bindAll(implementation: MbImplementation): Calls | null {
  for (const library of LIBRARIES)
    try {
      return {
        "aes128-gcm": bindGcm(library, 128, implementation),
        "aes192-gcm": bindGcm(library, 192, implementation),
        "aes256-gcm": bindGcm(library, 256, implementation),
      };
    } catch {
      // Not installed, or a version or build without these functions: another may have them.
    }
  return null;
}

type Calls = Partial<Record<SuiteName, GcmCalls>>;

/** What implementations are tried with: packets of a usual size, several times, as anything may come between. */
const TRIAL_SUITE = "aes128-gcm";
const TRIAL_BYTES = 1440;
const TRIAL_PLACE = 1536;
const TRIAL_PACKETS = 32;
const TRIALS = 5;

/** @returns the fastest on this CPU: on AMD's first Zen, for one, the newest is 9 % slower than the one before it */
function fastest(candidates: readonly Calls[]): Calls | null {
  if (candidates.length < 2) return candidates[0] ?? null;
  const slab = new Slab((TRIAL_PACKETS + 1) * TRIAL_PLACE);
  const spec = { suite: TRIAL_SUITE, esn: false, keymat: new Uint8Array(keymatSize(TRIAL_SUITE)) } as const;
  const trials = candidates.flatMap((calls) => {
    const gcm = calls[TRIAL_SUITE];
    return gcm === undefined
      ? []
      : [{ calls, sealer: makeAead(gcm, slab, spec, "seal"), best: Number.POSITIVE_INFINITY }];
  });
  const batch = new CipherBatch();
  for (let i = 0; i < TRIALS; i++)
    for (const trial of trials) {
      for (let packet = 1; packet <= TRIAL_PACKETS; packet++)
        trial.sealer.queue?.(batch, packet * TRIAL_PLACE, 0, 0, TRIAL_BYTES);
      const start = performance.now();
      batch.run(slab);
      trial.best = Math.min(trial.best, performance.now() - start);
      batch.clear();
    }
  for (const { sealer } of trials) sealer.close();
  return trials.sort((a, b) => a.best - b.best)[0]?.calls ?? null;
}

/**
 * Intel's Multi-Buffer Crypto for IPsec, for AES-GCM. Its other ciphers want many jobs
 * at a time to be faster than OpenSSL.
 * @param others serves the other suites
 * @param implementations to choose the fastest of: those that this CPU can run, unless a test wants another
 * @returns null where the library or the CPU's instructions are missing
 */
export function createIpsecMb(
  others: AeadBackend,
  implementations: readonly MbImplementation[] = mbImplementations(),
): AeadBackend | null {
  const calls = fastest(implementations.flatMap((implementation) => bindAll(implementation) ?? []));
  return calls === null ? null : backendOf(calls, others);
}

function backendOf(calls: Calls, others: AeadBackend): AeadBackend {
  return {
    name: "ipsec-mb",
    sealer(slab, spec) {
      const gcm = calls[spec.suite];
      return gcm === undefined ? others.sealer(slab, spec) : makeAead(gcm, slab, spec, "seal");
    },
    opener(slab, spec) {
      const gcm = calls[spec.suite];
      return gcm === undefined ? others.opener(slab, spec) : makeAead(gcm, slab, spec, "open");
    },
  };
}
