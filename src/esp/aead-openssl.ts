import { Slab } from "../sys/slab.js";
import type { AeadBackend, CipherSpec, Opener, Sealer } from "./aead.js";
import { bindEvp, type Evp, KEEP_DIRECTION, newCipher } from "./evp.js";
import { HmacOpener, HmacSealer } from "./hmac-openssl.js";
import { ESP_IV, ESP_SEQUENCE } from "./packet.js";
import { type AeadSuite, NONCE_SIZE, SALT_SIZE, SUITES } from "./suite.js";

/** openssl/evp.h */
const EVP_CTRL_AEAD_GET_TAG = 0x10;
const EVP_CTRL_AEAD_SET_TAG = 0x11;

const IV_SIZE = NONCE_SIZE - SALT_SIZE;
const ICV_SIZE = 16;
const PAYLOAD = ESP_IV + IV_SIZE;

/** Offsets in a context's own block: nonce, the length that each EVP call insists on reporting, extended AAD. */
const NONCE = 0;
const WRITTEN = 16;
const AAD = 24;
const AAD_SIZE = 8;
const ESN_AAD_SIZE = 12;
const SCRATCH_SIZE = AAD + ESN_AAD_SIZE;

/** AES-GCM or ChaCha20-Poly1305: both have this nonce, additional data and ICV (RFC 4106, RFC 7634). */
class EvpAead implements Sealer, Opener {
  readonly #evp: Evp;
  readonly #slab: Slab;
  readonly #scratch = new Slab(SCRATCH_SIZE);
  readonly #nonce: number;
  readonly #written: number;
  readonly #esn: boolean;
  readonly #aadSize: number;
  #context: number;

  constructor(evp: Evp, slab: Slab, suite: AeadSuite, { esn, keymat }: CipherSpec, encrypt: boolean) {
    const keySize = suite.keySize - suite.saltSize;
    this.#evp = evp;
    this.#slab = slab;
    this.#esn = esn;
    this.#aadSize = esn ? ESN_AAD_SIZE : AAD_SIZE;
    this.#nonce = this.#scratch.base + NONCE;
    this.#written = this.#scratch.base + WRITTEN;
    this.#scratch.bytes.set(keymat.subarray(keySize), NONCE);
    const key = new Slab(keySize);
    key.bytes.set(keymat.subarray(0, keySize));
    try {
      this.#context = newCipher(evp, suite.cipher, key.base, this.#nonce, encrypt);
    } finally {
      key.bytes.fill(0);
    }
  }

  seal(packet: number, sequenceHigh: number, source: number, length: number): boolean {
    const evp = this.#evp;
    const context = this.#context;
    const base = this.#slab.base;
    const written = this.#written;
    const target = base + packet + PAYLOAD;
    this.#setIv(packet + ESP_IV);
    const aad = this.#esn ? this.#extendedAad(packet, sequenceHigh) : base + packet;
    return (
      evp.init(context, 0, 0, 0, this.#nonce, KEEP_DIRECTION) === 1 &&
      evp.encryptUpdate(context, 0, written, aad, this.#aadSize) === 1 &&
      evp.encryptUpdate(context, target, written, base + source, length) === 1 &&
      evp.encryptFinal(context, target + length, written) === 1 &&
      evp.control(context, EVP_CTRL_AEAD_GET_TAG, ICV_SIZE, target + length) === 1
    );
  }

  open(packet: number, sequenceHigh: number, length: number): boolean {
    const evp = this.#evp;
    const context = this.#context;
    const base = this.#slab.base;
    const written = this.#written;
    const text = base + packet + PAYLOAD;
    this.#setIv(packet + ESP_IV);
    const aad = this.#esn ? this.#extendedAad(packet, sequenceHigh) : base + packet;
    return (
      evp.init(context, 0, 0, 0, this.#nonce, KEEP_DIRECTION) === 1 &&
      evp.control(context, EVP_CTRL_AEAD_SET_TAG, ICV_SIZE, text + length) === 1 &&
      evp.decryptUpdate(context, 0, written, aad, this.#aadSize) === 1 &&
      evp.decryptUpdate(context, text, written, text, length) === 1 &&
      evp.decryptFinal(context, text + length, written) === 1
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
    to.setUint32(NONCE + SALT_SIZE + 4, from.getUint32(iv + 4));
  }

  #extendedAad(packet: number, sequenceHigh: number): number {
    const from = this.#slab.view;
    const to = this.#scratch.view;
    to.setUint32(AAD, from.getUint32(packet));
    to.setUint32(AAD + 4, sequenceHigh);
    to.setUint32(AAD + 8, from.getUint32(packet + ESP_SEQUENCE));
    return this.#scratch.base + AAD;
  }
}

/** @returns a backend on Node's own OpenSSL, or null where Node does not export it */
export function createOpenSsl(): AeadBackend | null {
  const evp = bindEvp();
  if (evp === null) return null;
  return {
    name: "openssl",
    sealer(slab, spec) {
      const suite = SUITES[spec.suite];
      return suite.kind === "aead"
        ? new EvpAead(evp, slab, suite, spec, true)
        : new HmacSealer(evp, slab, suite, spec);
    },
    opener(slab, spec) {
      const suite = SUITES[spec.suite];
      return suite.kind === "aead"
        ? new EvpAead(evp, slab, suite, spec, false)
        : new HmacOpener(evp, slab, suite, spec);
    },
  };
}
