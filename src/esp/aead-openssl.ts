import { functionAddress } from "../sys/dynamic-linking.js";
import { Slab } from "../sys/slab.js";
import type { AeadBackend, CipherSpec, Opener, Sealer } from "./aead.js";
import { BatchAead } from "./aead-batch.js";
import { makeCipher } from "./cipher-batch.js";
import { bindEvp, type Evp, newCipher } from "./evp.js";
import { HmacOpener, HmacSealer } from "./hmac-openssl.js";
import { type AeadSuite, NONCE_SIZE, SUITES } from "./suite.js";

/** Addresses of the functions that a packet takes, in the order of struct evp in native/cipher_batch.c. */
interface EvpAddresses {
  readonly seal: readonly number[];
  readonly open: readonly number[];
}

function bindAddresses(): EvpAddresses {
  const named = (...names: string[]): number[] => names.map((name) => functionAddress(null, name));
  const shared = named("EVP_CipherInit_ex", "EVP_CIPHER_CTX_ctrl");
  return {
    seal: [...shared, ...named("EVP_EncryptUpdate", "EVP_EncryptFinal_ex")],
    open: [...shared, ...named("EVP_DecryptUpdate", "EVP_DecryptFinal_ex")],
  };
}

/** AES-GCM or ChaCha20-Poly1305. */
function makeAead(
  evp: Evp,
  addresses: EvpAddresses,
  slab: Slab,
  suite: AeadSuite,
  { esn, keymat }: CipherSpec,
  direction: keyof EvpAddresses,
): Sealer & Opener {
  const keySize = suite.keySize - suite.saltSize;
  const salt = keymat.subarray(keySize);
  const key = new Slab(keySize);
  const nonce = new Slab(NONCE_SIZE);
  key.bytes.set(keymat.subarray(0, keySize));
  try {
    const context = newCipher(evp, suite.cipher, key.base, nonce.base, direction === "seal");
    const functions = addresses[direction];
    const cipher = makeCipher({ process: `evp_${direction}`, functions, key: context, salt, esn });
    return new BatchAead(slab, cipher, () => evp.freeContext(context));
  } finally {
    key.bytes.fill(0);
  }
}

/** @returns a backend on Node's own OpenSSL, or null where Node does not export it */
export function createOpenSsl(): AeadBackend | null {
  const evp = bindEvp();
  if (evp === null) return null;
  const addresses = bindAddresses();
  return {
    name: "openssl",
    sealer(slab, spec) {
      const suite = SUITES[spec.suite];
      return suite.kind === "aead"
        ? makeAead(evp, addresses, slab, suite, spec, "seal")
        : new HmacSealer(evp, slab, suite, spec);
    },
    opener(slab, spec) {
      const suite = SUITES[spec.suite];
      return suite.kind === "aead"
        ? makeAead(evp, addresses, slab, suite, spec, "open")
        : new HmacOpener(evp, slab, suite, spec);
    },
  };
}
