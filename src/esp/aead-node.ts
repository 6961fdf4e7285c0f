import {
  type CipherGCMTypes,
  createCipheriv,
  createDecipheriv,
  createSecretKey,
  type KeyObject,
} from "node:crypto";
import type { Slab } from "../sys/slab.js";
import type { AeadBackend, Opener, Sealer } from "./aead.js";
import { AAD_SIZE, ICV_SIZE } from "./packet.js";
import { IV_SIZE, NONCE_SIZE, SALT_SIZE, SUITES, type SuiteName } from "./suite.js";

class NodeAead implements Sealer, Opener {
  readonly #bytes: Uint8Array;
  readonly #cipher: CipherGCMTypes;
  readonly #key: KeyObject;
  readonly #nonce = new Uint8Array(NONCE_SIZE);

  constructor(slab: Slab, suite: SuiteName, keymat: Uint8Array) {
    const { cipher, keySize } = SUITES[suite];
    this.#bytes = slab.bytes;
    this.#cipher = cipher.toLowerCase() as CipherGCMTypes;
    this.#key = createSecretKey(keymat.subarray(0, keySize));
    this.#nonce.set(keymat.subarray(keySize, keySize + SALT_SIZE));
  }

  seal(aad: number, iv: number, source: number, length: number, target: number): boolean {
    const bytes = this.#bytes;
    this.#nonce.set(bytes.subarray(iv, iv + IV_SIZE), SALT_SIZE);
    const cipher = createCipheriv(this.#cipher, this.#key, this.#nonce);
    cipher.setAAD(bytes.subarray(aad, aad + AAD_SIZE));
    bytes.set(cipher.update(bytes.subarray(source, source + length)), target);
    cipher.final();
    bytes.set(cipher.getAuthTag(), target + length);
    return true;
  }

  open(aad: number, iv: number, source: number, length: number, target: number): boolean {
    const bytes = this.#bytes;
    this.#nonce.set(bytes.subarray(iv, iv + IV_SIZE), SALT_SIZE);
    const decipher = createDecipheriv(this.#cipher, this.#key, this.#nonce, { authTagLength: ICV_SIZE });
    decipher.setAAD(bytes.subarray(aad, aad + AAD_SIZE));
    decipher.setAuthTag(bytes.subarray(source + length, source + length + ICV_SIZE));
    const text = decipher.update(bytes.subarray(source, source + length));
    try {
      decipher.final();
    } catch {
      // node:crypto reports a wrong tag by an exception that carries nothing else.
      return false;
    }
    bytes.set(text, target);
    return true;
  }

  close(): void {
    // The KeyObject is freed, and its key cleared, when it is collected.
  }
}

/** The reference: allocates on every packet. */
export const nodeCrypto: AeadBackend = {
  name: "node",
  sealer: (slab, suite, keymat) => new NodeAead(slab, suite, keymat),
  opener: (slab, suite, keymat) => new NodeAead(slab, suite, keymat),
};
