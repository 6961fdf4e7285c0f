import { functionAddress } from "../sys/call-list.js";
import { Slab } from "../sys/slab.js";
import type { AeadBackend, CipherSpec, Opener, Sealer } from "./aead.js";
import { AAD, type BatchCipher, CipherBatch, NONCE, WRITTEN } from "./cipher-batch.js";
import { bindEvp, type Evp, KEEP_DIRECTION, newCipher } from "./evp.js";
import { HmacOpener, HmacSealer } from "./hmac-openssl.js";
import { ESP_IV } from "./packet.js";
import { type AeadSuite, NONCE_SIZE, SALT_SIZE, SUITES } from "./suite.js";

/** openssl/evp.h */
const EVP_CTRL_AEAD_GET_TAG = 0x10;
const EVP_CTRL_AEAD_SET_TAG = 0x11;

const IV_SIZE = NONCE_SIZE - SALT_SIZE;
const ICV_SIZE = 16;
const PAYLOAD = ESP_IV + IV_SIZE;

const AAD_SIZE = 8;
const ESN_AAD_SIZE = 12;

/** Addresses of the functions that a packet takes. */
interface EvpAddresses {
  readonly init: number;
  readonly control: number;
  readonly encryptUpdate: number;
  readonly encryptFinal: number;
  readonly decryptUpdate: number;
  readonly decryptFinal: number;
}

const bindAddresses = (): EvpAddresses => ({
  init: functionAddress(null, "EVP_CipherInit_ex"),
  control: functionAddress(null, "EVP_CIPHER_CTX_ctrl"),
  encryptUpdate: functionAddress(null, "EVP_EncryptUpdate"),
  encryptFinal: functionAddress(null, "EVP_EncryptFinal_ex"),
  decryptUpdate: functionAddress(null, "EVP_DecryptUpdate"),
  decryptFinal: functionAddress(null, "EVP_DecryptFinal_ex"),
});

/** Calls that each packet takes. */
const CALLS = 5;

/** AES-GCM or ChaCha20-Poly1305: both have this nonce, additional data and ICV (RFC 4106, RFC 7634). */
class EvpAead implements Sealer, Opener, BatchCipher {
  readonly #evp: Evp;
  readonly #addresses: EvpAddresses;
  readonly #slab: Slab;
  readonly #single: CipherBatch;
  /** The nonce of the packet in hand; its first bytes are the salt. */
  readonly #nonce = new Slab(NONCE_SIZE);
  readonly #esn: boolean;
  #context: number;

  /** @param single where a packet that is not to wait gets into */
  constructor(
    evp: Evp,
    addresses: EvpAddresses,
    slab: Slab,
    suite: AeadSuite,
    { esn, keymat }: CipherSpec,
    encrypt: boolean,
    single: CipherBatch,
  ) {
    const keySize = suite.keySize - suite.saltSize;
    this.#evp = evp;
    this.#addresses = addresses;
    this.#slab = slab;
    this.#single = single;
    this.#esn = esn;
    this.#nonce.bytes.set(keymat.subarray(keySize));
    const key = new Slab(keySize);
    key.bytes.set(keymat.subarray(0, keySize));
    try {
      this.#context = newCipher(evp, suite.cipher, key.base, this.#nonce.base, encrypt);
    } finally {
      key.bytes.fill(0);
    }
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
    const { encryptUpdate, encryptFinal } = this.#addresses;
    const { base } = this.#slab;
    const icv = packet + PAYLOAD + length;
    const slot = batch.add(this, icv);
    const written = batch.scratch.base + slot + WRITTEN;
    this.#init(batch, slot, packet);
    this.#update(
      batch,
      encryptUpdate,
      0,
      this.#aad(batch, slot, packet, sequenceHigh),
      this.#aadSize,
      written,
    );
    this.#update(batch, encryptUpdate, base + packet + PAYLOAD, base + source, length, written);
    this.#final(batch, encryptFinal, base + icv, written);
    this.#control(batch, EVP_CTRL_AEAD_GET_TAG, base + icv);
  }

  queueOpen(batch: CipherBatch, packet: number, sequenceHigh: number, length: number): void {
    const { decryptUpdate, decryptFinal } = this.#addresses;
    const text = this.#slab.base + packet + PAYLOAD;
    const slot = batch.add(this, packet + PAYLOAD + length);
    const written = batch.scratch.base + slot + WRITTEN;
    this.#init(batch, slot, packet);
    this.#control(batch, EVP_CTRL_AEAD_SET_TAG, text + length);
    this.#update(
      batch,
      decryptUpdate,
      0,
      this.#aad(batch, slot, packet, sequenceHigh),
      this.#aadSize,
      written,
    );
    this.#update(batch, decryptUpdate, text, text, length, written);
    this.#final(batch, decryptFinal, text + length, written);
  }

  worked({ calls }: CipherBatch, call: number): boolean {
    for (let i = 0; i < CALLS; i++) if (calls.result(call + i) !== 1) return false;
    return true;
  }

  close(): void {
    this.#evp.freeContext(this.#context);
    this.#context = 0;
    this.#nonce.bytes.fill(0);
  }

  get #aadSize(): number {
    return this.#esn ? ESN_AAD_SIZE : AAD_SIZE;
  }

  #init(batch: CipherBatch, slot: number, packet: number): void {
    const { calls, scratch } = batch;
    batch.writeNonce(slot, this.#slab.view, packet, this.#nonce.view.getUint32(0));
    const call = calls.add(this.#addresses.init);
    calls.setArgument(call, 0, this.#context);
    calls.setArgument(call, 1, 0);
    calls.setArgument(call, 2, 0);
    calls.setArgument(call, 3, 0);
    calls.setArgument(call, 4, scratch.base + slot + NONCE);
    calls.setArgument(call, 5, KEEP_DIRECTION);
  }

  #update(
    { calls }: CipherBatch,
    address: number,
    target: number,
    source: number,
    length: number,
    written: number,
  ): void {
    const call = calls.add(address);
    calls.setArgument(call, 0, this.#context);
    calls.setArgument(call, 1, target);
    calls.setArgument(call, 2, written);
    calls.setArgument(call, 3, source);
    calls.setArgument(call, 4, length);
  }

  #final({ calls }: CipherBatch, address: number, target: number, written: number): void {
    const call = calls.add(address);
    calls.setArgument(call, 0, this.#context);
    calls.setArgument(call, 1, target);
    calls.setArgument(call, 2, written);
  }

  #control({ calls }: CipherBatch, command: number, icv: number): void {
    const call = calls.add(this.#addresses.control);
    calls.setArgument(call, 0, this.#context);
    calls.setArgument(call, 1, command);
    calls.setArgument(call, 2, ICV_SIZE);
    calls.setArgument(call, 3, icv);
  }

  /** @returns the address of the additional data */
  #aad(batch: CipherBatch, slot: number, packet: number, sequenceHigh: number): number {
    if (!this.#esn) return this.#slab.base + packet;
    batch.writeExtendedAad(slot, this.#slab.view, packet, sequenceHigh);
    return batch.scratch.base + slot + AAD;
  }
}

/** @returns a backend on Node's own OpenSSL, or null where Node does not export it */
export function createOpenSsl(): AeadBackend | null {
  const evp = bindEvp();
  if (evp === null) return null;
  const addresses = bindAddresses();
  const single = new CipherBatch();
  return {
    name: "openssl",
    sealer(slab, spec) {
      const suite = SUITES[spec.suite];
      return suite.kind === "aead"
        ? new EvpAead(evp, addresses, slab, suite, spec, true, single)
        : new HmacSealer(evp, slab, suite, spec);
    },
    opener(slab, spec) {
      const suite = SUITES[spec.suite];
      return suite.kind === "aead"
        ? new EvpAead(evp, addresses, slab, suite, spec, false, single)
        : new HmacOpener(evp, slab, suite, spec);
    },
  };
}
