import koffi from "koffi";
import { Slab } from "../sys/slab.js";
import type { AeadBackend, Opener, Sealer } from "./aead.js";
import { AAD_SIZE, ICV_SIZE } from "./packet.js";
import { IV_SIZE, NONCE_SIZE, SALT_SIZE, SUITES, type SuiteName } from "./suite.js";

/** openssl/evp.h */
const EVP_CTRL_AEAD_GET_TAG = 0x10;
const EVP_CTRL_AEAD_SET_TAG = 0x11;
const KEEP_DIRECTION = -1;

type Call = (...args: number[]) => number;

interface Evp {
  readonly fetch: (context: number, name: string, properties: number) => number;
  readonly freeMethod: (method: number) => void;
  readonly newContext: Call;
  readonly freeContext: (context: number) => void;
  readonly init: Call;
  readonly control: Call;
  readonly encryptUpdate: Call;
  readonly encryptFinal: Call;
  readonly decryptUpdate: Call;
  readonly decryptFinal: Call;
}

/** Binds the EVP functions of the OpenSSL that Node itself links; another copy of libcrypto beside it would crash. */
function bindEvp(): Evp | null {
  const p = "uintptr_t";
  const i = "int";
  try {
    const node = koffi.load(null);
    return {
      fetch: node.func("EVP_CIPHER_fetch", p, [p, "str", p]),
      freeMethod: node.func("EVP_CIPHER_free", "void", [p]),
      newContext: node.func("EVP_CIPHER_CTX_new", p, []),
      freeContext: node.func("EVP_CIPHER_CTX_free", "void", [p]),
      init: node.func("EVP_CipherInit_ex", i, [p, p, p, p, p, i]),
      control: node.func("EVP_CIPHER_CTX_ctrl", i, [p, i, i, p]),
      encryptUpdate: node.func("EVP_EncryptUpdate", i, [p, p, p, p, i]),
      encryptFinal: node.func("EVP_EncryptFinal_ex", i, [p, p, p]),
      decryptUpdate: node.func("EVP_DecryptUpdate", i, [p, p, p, p, i]),
      decryptFinal: node.func("EVP_DecryptFinal_ex", i, [p, p, p]),
    };
  } catch {
    // A Node linked against a shared or another crypto library: the caller falls back.
    return null;
  }
}

/** Offsets in a context's own block: the nonce, and the length that each EVP call insists on reporting. */
const NONCE = 0;
const WRITTEN = 16;
const SCRATCH_SIZE = 24;

class EvpAead implements Sealer, Opener {
  readonly #evp: Evp;
  readonly #slab: Slab;
  readonly #scratch = new Slab(SCRATCH_SIZE);
  readonly #nonce: number;
  readonly #written: number;
  #context: number;

  constructor(evp: Evp, slab: Slab, suite: SuiteName, keymat: Uint8Array, encrypt: boolean) {
    const { cipher, keySize } = SUITES[suite];
    this.#evp = evp;
    this.#slab = slab;
    this.#nonce = this.#scratch.base + NONCE;
    this.#written = this.#scratch.base + WRITTEN;
    this.#scratch.bytes.set(keymat.subarray(keySize, keySize + SALT_SIZE), NONCE);
    const key = new Slab(keySize);
    key.bytes.set(keymat.subarray(0, keySize));
    this.#context = evp.newContext();
    const method = evp.fetch(0, cipher, 0);
    // Initialising takes a reference to the method of its own; freeing 0 does nothing.
    const ready =
      this.#context !== 0 &&
      method !== 0 &&
      evp.init(this.#context, method, 0, key.base, this.#nonce, encrypt ? 1 : 0) === 1;
    evp.freeMethod(method);
    key.bytes.fill(0);
    if (!ready) {
      this.close();
      throw new Error(
        `preparing ${cipher}: OpenSSL refused; its provider or FIPS configuration may leave the cipher out`,
      );
    }
  }

  seal(aad: number, iv: number, source: number, length: number, target: number): boolean {
    const evp = this.#evp;
    const context = this.#context;
    const base = this.#slab.base;
    const written = this.#written;
    this.#setIv(iv);
    return (
      evp.init(context, 0, 0, 0, this.#nonce, KEEP_DIRECTION) === 1 &&
      evp.encryptUpdate(context, 0, written, base + aad, AAD_SIZE) === 1 &&
      evp.encryptUpdate(context, base + target, written, base + source, length) === 1 &&
      evp.encryptFinal(context, base + target + length, written) === 1 &&
      evp.control(context, EVP_CTRL_AEAD_GET_TAG, ICV_SIZE, base + target + length) === 1
    );
  }

  open(aad: number, iv: number, source: number, length: number, target: number): boolean {
    const evp = this.#evp;
    const context = this.#context;
    const base = this.#slab.base;
    const written = this.#written;
    this.#setIv(iv);
    return (
      evp.init(context, 0, 0, 0, this.#nonce, KEEP_DIRECTION) === 1 &&
      evp.control(context, EVP_CTRL_AEAD_SET_TAG, ICV_SIZE, base + source + length) === 1 &&
      evp.decryptUpdate(context, 0, written, base + aad, AAD_SIZE) === 1 &&
      evp.decryptUpdate(context, base + target, written, base + source, length) === 1 &&
      evp.decryptFinal(context, base + target + length, written) === 1
    );
  }

  close(): void {
    this.#evp.freeContext(this.#context);
    this.#context = 0;
    this.#scratch.bytes.fill(0);
  }

  #setIv(iv: number): void {
    const from = this.#slab.view;
    const to = this.#scratch.view;
    to.setUint32(NONCE + SALT_SIZE, from.getUint32(iv));
    to.setUint32(NONCE + NONCE_SIZE - IV_SIZE / 2, from.getUint32(iv + IV_SIZE / 2));
  }
}

/** @returns a backend on Node's own OpenSSL, or null where Node does not export it */
export function createOpenSsl(): AeadBackend | null {
  const evp = bindEvp();
  if (evp === null) return null;
  return {
    name: "openssl",
    sealer: (slab, suite, keymat) => new EvpAead(evp, slab, suite, keymat, true),
    opener: (slab, suite, keymat) => new EvpAead(evp, slab, suite, keymat, false),
  };
}
