import {
  type CipherGCMTypes,
  createCipheriv,
  createDecipheriv,
  createHmac,
  createSecretKey,
  type KeyObject,
  timingSafeEqual,
} from "node:crypto";
import type { Slab } from "../sys/slab.js";
import type { AeadBackend, CipherSpec, Opener, Sealer } from "./aead.js";
import { ESP_IV, ESP_SEQUENCE } from "./packet.js";
import { type AeadSuite, type HmacSuite, SUITES } from "./suite.js";

/** The high 32 bits of a sequence number as they are authenticated. */
function highWord(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}

class NodeAead implements Sealer, Opener {
  readonly #bytes: Uint8Array;
  readonly #suite: AeadSuite;
  readonly #esn: boolean;
  /** node:crypto's types name each AEAD cipher; all are used alike. */
  readonly #cipher: CipherGCMTypes;
  readonly #key: KeyObject;
  readonly #salt: Uint8Array;

  constructor(slab: Slab, suite: AeadSuite, { esn, keymat }: CipherSpec) {
    const keySize = suite.keySize - suite.saltSize;
    this.#bytes = slab.bytes;
    this.#suite = suite;
    this.#esn = esn;
    this.#cipher = suite.cipher.toLowerCase() as CipherGCMTypes;
    this.#key = createSecretKey(keymat.subarray(0, keySize));
    this.#salt = Uint8Array.from(keymat.subarray(keySize));
  }

  seal(packet: number, sequenceHigh: number, source: number, length: number): boolean {
    const bytes = this.#bytes;
    const { ivSize, icvSize } = this.#suite;
    const text = packet + ESP_IV + ivSize;
    const cipher = createCipheriv(this.#cipher, this.#key, this.#nonce(packet), { authTagLength: icvSize });
    cipher.setAAD(this.#aad(packet, sequenceHigh), { plaintextLength: length });
    bytes.set(cipher.update(bytes.subarray(source, source + length)), text);
    cipher.final();
    bytes.set(cipher.getAuthTag(), text + length);
    return true;
  }

  open(packet: number, sequenceHigh: number, length: number): boolean {
    const bytes = this.#bytes;
    const { ivSize, icvSize } = this.#suite;
    const from = packet + ESP_IV + ivSize;
    const to = from + length;
    const decipher = createDecipheriv(this.#cipher, this.#key, this.#nonce(packet), {
      authTagLength: icvSize,
    });
    decipher.setAAD(this.#aad(packet, sequenceHigh), { plaintextLength: length });
    decipher.setAuthTag(bytes.subarray(to, to + icvSize));
    const text = decipher.update(bytes.subarray(from, to));
    try {
      decipher.final();
    } catch {
      // node:crypto reports a wrong tag by an exception that carries nothing else.
      return false;
    }
    bytes.set(text, from);
    return true;
  }

  close(): void {
    // The KeyObject is freed, and its key cleared, when it is collected.
    this.#salt.fill(0);
  }

  #nonce(packet: number): Uint8Array {
    const iv = packet + ESP_IV;
    return Buffer.concat([this.#salt, this.#bytes.subarray(iv, iv + this.#suite.ivSize)]);
  }

  /** RFC 4106 section 5, RFC 7634 section 2.1: SPI and sequence number, of 32 or 64 bits. */
  #aad(packet: number, sequenceHigh: number): Uint8Array {
    const bytes = this.#bytes;
    if (!this.#esn) return bytes.subarray(packet, packet + ESP_IV);
    const sequence = packet + ESP_SEQUENCE;
    return Buffer.concat([
      bytes.subarray(packet, sequence),
      highWord(sequenceHigh),
      bytes.subarray(sequence, sequence + 4),
    ]);
  }
}

class NodeHmac implements Sealer, Opener {
  readonly #bytes: Uint8Array;
  readonly #suite: HmacSuite;
  readonly #esn: boolean;
  readonly #key: KeyObject;
  readonly #integrityKey: KeyObject;

  constructor(slab: Slab, suite: HmacSuite, { esn, keymat }: CipherSpec) {
    const keySize = suite.keySize - suite.digestSize;
    this.#bytes = slab.bytes;
    this.#suite = suite;
    this.#esn = esn;
    this.#key = createSecretKey(keymat.subarray(0, keySize));
    this.#integrityKey = createSecretKey(keymat.subarray(keySize));
  }

  seal(packet: number, sequenceHigh: number, source: number, length: number): boolean {
    const bytes = this.#bytes;
    const { cipher: name, ivSize } = this.#suite;
    const iv = packet + ESP_IV;
    const text = iv + ivSize;
    const plain = bytes.subarray(source, source + length);
    if (name === null) bytes.set(plain, text);
    else {
      const cipher = createCipheriv(name, this.#key, bytes.subarray(iv, text)).setAutoPadding(false);
      bytes.set(cipher.update(plain), text);
    }
    bytes.set(this.#icv(packet, sequenceHigh, text + length), text + length);
    return true;
  }

  open(packet: number, sequenceHigh: number, length: number): boolean {
    const bytes = this.#bytes;
    const { cipher: name, ivSize, icvSize } = this.#suite;
    const iv = packet + ESP_IV;
    const text = iv + ivSize;
    const end = text + length;
    const received = bytes.subarray(end, end + icvSize);
    if (!timingSafeEqual(this.#icv(packet, sequenceHigh, end), received)) return false;
    if (name === null) return true;
    const decipher = createDecipheriv(name, this.#key, bytes.subarray(iv, text)).setAutoPadding(false);
    bytes.set(decipher.update(bytes.subarray(text, end)), text);
    return true;
  }

  close(): void {
    // The KeyObjects are freed, and their keys cleared, when they are collected.
  }

  /** RFC 4303 section 2.8: over the packet up to `end`, and the high sequence number as if it stood behind it. */
  #icv(packet: number, sequenceHigh: number, end: number): Uint8Array {
    const hmac = createHmac(this.#suite.digest, this.#integrityKey).update(this.#bytes.subarray(packet, end));
    if (this.#esn) hmac.update(highWord(sequenceHigh));
    return hmac.digest().subarray(0, this.#suite.icvSize);
  }
}

function make(slab: Slab, spec: CipherSpec): Sealer & Opener {
  const suite = SUITES[spec.suite];
  return suite.kind === "aead" ? new NodeAead(slab, suite, spec) : new NodeHmac(slab, suite, spec);
}

/** The reference: allocates on every packet. */
export const nodeCrypto: AeadBackend = { name: "node", sealer: make, opener: make };
