import { Slab } from "../sys/slab.js";
import type { CipherSpec, Opener, Sealer } from "./aead.js";
import { type Evp, KEEP_DIRECTION, newCipher } from "./evp.js";
import { ESP_IV } from "./packet.js";
import type { HmacSuite } from "./suite.js";

/** Offsets in a context's own block: the digest, the lengths that the calls report, the high sequence number. */
const DIGEST = 0;
const WRITTEN = 64;
const HIGH = 72;
const SCRATCH_SIZE = 80;

/** A truncated HMAC (RFC 4868) over ESP packets in a Slab. */
class Integrity {
  readonly digest = new Slab(SCRATCH_SIZE);
  readonly #evp: Evp;
  readonly #slab: Slab;
  readonly #esn: boolean;
  #context: number;

  constructor(evp: Evp, slab: Slab, { digest, digestSize }: HmacSuite, { esn, keymat }: CipherSpec) {
    this.#evp = evp;
    this.#slab = slab;
    this.#esn = esn;
    this.#context = evp.newHmac();
    const key = new Slab(digestSize);
    key.bytes.set(keymat.subarray(keymat.length - digestSize));
    const method = evp.digestByName(digest);
    const ready = method !== 0 && evp.hmacInit(this.#context, key.base, digestSize, method, 0) === 1;
    key.bytes.fill(0);
    if (ready) return;
    this.close();
    throw new Error(
      `preparing HMAC-${digest}: OpenSSL refused; its FIPS configuration may leave the digest out`,
    );
  }

  /** Computes the digest of the packet of `size` bytes, without its ICV, to the start of `digest`. */
  compute(packet: number, sequenceHigh: number, size: number): boolean {
    const evp = this.#evp;
    const context = this.#context;
    const { base, view } = this.digest;
    // No key: that of the call before, whose schedule the context keeps.
    if (evp.hmacInit(context, 0, 0, 0, 0) !== 1) return false;
    if (evp.hmacUpdate(context, this.#slab.base + packet, size) !== 1) return false;
    if (this.#esn) {
      view.setUint32(HIGH, sequenceHigh);
      if (evp.hmacUpdate(context, base + HIGH, 4) !== 1) return false;
    }
    return evp.hmacFinal(context, base + DIGEST, base + WRITTEN) === 1;
  }

  close(): void {
    this.#evp.freeHmac(this.#context);
    this.#context = 0;
    this.digest.bytes.fill(0);
  }
}

/** AES-CBC or nothing, without OpenSSL's padding: ESP has its own. @returns the context, 0 for the NULL cipher */
function newBlockCipher(
  evp: Evp,
  { cipher, keySize, digestSize }: HmacSuite,
  keymat: Uint8Array,
  encrypt: boolean,
): number {
  if (cipher === null) return 0;
  const key = new Slab(keySize - digestSize);
  key.bytes.set(keymat.subarray(0, keySize - digestSize));
  try {
    const context = newCipher(evp, cipher, key.base, 0, encrypt);
    evp.setPadding(context, 0);
    return context;
  } finally {
    key.bytes.fill(0);
  }
}

/** Encrypts, then authenticates (RFC 4303 section 3.3.2.1). */
export class HmacSealer implements Sealer {
  readonly #evp: Evp;
  readonly #slab: Slab;
  readonly #suite: HmacSuite;
  readonly #integrity: Integrity;
  #context: number;

  constructor(evp: Evp, slab: Slab, suite: HmacSuite, spec: CipherSpec) {
    this.#evp = evp;
    this.#slab = slab;
    this.#suite = suite;
    this.#integrity = new Integrity(evp, slab, suite, spec);
    this.#context = newBlockCipher(evp, suite, spec.keymat, true);
  }

  seal(packet: number, sequenceHigh: number, source: number, length: number): boolean {
    const { base, bytes } = this.#slab;
    const { ivSize, icvSize } = this.#suite;
    const text = packet + ESP_IV + ivSize;
    if (this.#context === 0) bytes.copyWithin(text, source, source + length);
    else if (!this.#encrypt(base + packet + ESP_IV, base + source, length, base + text)) return false;
    const integrity = this.#integrity;
    if (!integrity.compute(packet, sequenceHigh, text + length - packet)) return false;
    bytes.set(integrity.digest.bytes.subarray(DIGEST, DIGEST + icvSize), text + length);
    return true;
  }

  close(): void {
    this.#evp.freeContext(this.#context);
    this.#context = 0;
    this.#integrity.close();
  }

  #encrypt(iv: number, source: number, length: number, target: number): boolean {
    const written = this.#integrity.digest.base + WRITTEN;
    return (
      this.#evp.init(this.#context, 0, 0, 0, iv, KEEP_DIRECTION) === 1 &&
      this.#evp.encryptUpdate(this.#context, target, written, source, length) === 1
    );
  }
}

/** Authenticates, and decrypts only what is authentic (RFC 4303 section 3.4.4.1). */
export class HmacOpener implements Opener {
  readonly #evp: Evp;
  readonly #slab: Slab;
  readonly #suite: HmacSuite;
  readonly #integrity: Integrity;
  #context: number;

  constructor(evp: Evp, slab: Slab, suite: HmacSuite, spec: CipherSpec) {
    this.#evp = evp;
    this.#slab = slab;
    this.#suite = suite;
    this.#integrity = new Integrity(evp, slab, suite, spec);
    this.#context = newBlockCipher(evp, suite, spec.keymat, false);
  }

  open(packet: number, sequenceHigh: number, length: number): boolean {
    const { base, view } = this.#slab;
    const { ivSize, icvSize } = this.#suite;
    const iv = packet + ESP_IV;
    const text = iv + ivSize;
    const integrity = this.#integrity;
    if (!integrity.compute(packet, sequenceHigh, text + length - packet)) return false;
    // All of it is compared, whatever its first bytes say: the time taken tells a forger nothing.
    const expected = integrity.digest.view;
    let difference = 0;
    for (let i = 0; i < icvSize; i += 4)
      difference |= expected.getInt32(DIGEST + i) ^ view.getInt32(text + length + i);
    if (difference !== 0) return false;
    if (this.#context === 0) return true;
    const written = integrity.digest.base + WRITTEN;
    return (
      this.#evp.init(this.#context, 0, 0, 0, base + iv, KEEP_DIRECTION) === 1 &&
      this.#evp.decryptUpdate(this.#context, base + text, written, base + text, length) === 1
    );
  }

  close(): void {
    this.#evp.freeContext(this.#context);
    this.#context = 0;
    this.#integrity.close();
  }
}
