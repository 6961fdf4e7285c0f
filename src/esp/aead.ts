import type { Slab } from "../sys/slab.js";
import { createIpsecMb } from "./aead-ipsec-mb.js";
import { nodeCrypto } from "./aead-node.js";
import { createOpenSsl } from "./aead-openssl.js";
import type { SuiteName } from "./suite.js";

/**
 * One direction of one SA's cipher, working at offsets in a Slab: the additional data are AAD_SIZE bytes at `aad`, the
 * explicit IV 8 bytes at `iv`, the text `length` bytes at `source`. `target` may be equal to `source`; else the two
 * must not overlap.
 */
export interface Sealer {
  /** Encrypts to `target` and writes the ICV behind it. @returns whether it worked */
  seal(aad: number, iv: number, source: number, length: number, target: number): boolean;
  /** Frees the key schedule. Not to be used afterwards. */
  close(): void;
}

export interface Opener {
  /**
   * Decrypts to `target`, expecting the ICV behind the source. @returns whether the packet is authentic; when false,
   * what stands at `target` is to be thrown away
   */
  open(aad: number, iv: number, source: number, length: number, target: number): boolean;
  close(): void;
}

export interface AeadBackend {
  readonly name: "ipsec-mb" | "openssl" | "node";
  /** @param keymat keymatSize(suite) bytes, copied: the caller may wipe them */
  sealer(slab: Slab, suite: SuiteName, keymat: Uint8Array): Sealer;
  opener(slab: Slab, suite: SuiteName, keymat: Uint8Array): Opener;
}

/**
 * @param name "auto" takes libipsec-mb where it is installed, else Node's own OpenSSL called directly, and node:crypto
 * (slower by far) where its symbols are not exported
 * @throws Error when one was asked for by name and is not there
 */
export function chooseBackend(name: AeadBackend["name"] | "auto"): AeadBackend {
  if (name === "node") return nodeCrypto;
  const chosen =
    (name === "openssl" ? null : createIpsecMb()) ?? (name === "ipsec-mb" ? null : createOpenSsl());
  if (chosen !== null) return chosen;
  if (name === "auto") return nodeCrypto;
  throw new Error(
    name === "openssl"
      ? "this Node does not export OpenSSL's functions; leave the choice of crypto to auto"
      : "libIPSec_MB.so.1 cannot be used here; install libipsec-mb1 on an x86-64 machine, or leave the choice of crypto to auto",
  );
}
