import type { Slab } from "../sys/slab.js";
import { createIpsecMb } from "./aead-ipsec-mb.js";
import { nodeCrypto } from "./aead-node.js";
import { createOpenSsl } from "./aead-openssl.js";
import type { CipherBatch } from "./cipher-batch.js";
import type { SuiteName } from "./suite.js";

/**
 * One direction of one SA's cipher, working on ESP packets in a Slab. `packet` is the offset of a packet whose SPI,
 * sequence number and IV are in place; `length` is that of its ciphertext. `sequenceHigh` are the high 32 bits of the
 * sequence number, looked at only when the cipher was made for extended sequence numbers.
 */
export interface Sealer {
  /** Its struct cipher, for C that seals by itself (native/cipher.h). Left out where there is none. */
  readonly cipher?: Slab;
  /**
   * Encrypts the `length` bytes at `source`, which the packet must not overlap, into the packet and writes the ICV behind.
   * @returns whether it worked
   */
  seal(packet: number, sequenceHigh: number, source: number, length: number): boolean;
  /** As `seal`, once the batch is run; source and packet must stay until then. Left out where it cannot wait. */
  queue?(batch: CipherBatch, packet: number, sequenceHigh: number, source: number, length: number): void;
  /** Frees the key schedule. Not to be used afterwards. */
  close(): void;
}

export interface Opener {
  /** As a Sealer's. */
  readonly cipher?: Slab;
  /**
   * Decrypts in place. @returns whether the packet is authentic; when false, what stands there is to be thrown away
   */
  open(packet: number, sequenceHigh: number, length: number): boolean;
  /** As `open`, once the batch is run. Left out where it cannot wait. */
  queueOpen?(batch: CipherBatch, packet: number, sequenceHigh: number, length: number): void;
  close(): void;
}

/** What a cipher is made from. */
export interface CipherSpec {
  readonly suite: SuiteName;
  /** Extended sequence numbers (RFC 4304): the ICV covers the high 32 bits too. */
  readonly esn: boolean;
  /** keymatSize(suite) bytes, copied: the caller may wipe them. */
  readonly keymat: Uint8Array;
}

export interface AeadBackend {
  readonly name: "ipsec-mb" | "openssl" | "node";
  sealer(slab: Slab, spec: CipherSpec): Sealer;
  opener(slab: Slab, spec: CipherSpec): Opener;
}

/**
 * @param name "auto" takes libipsec-mb where it is installed (for AES-GCM; the other suites go to OpenSSL), else Node's
 * own OpenSSL called directly, and node:crypto (slower by far) where its symbols are not exported
 * @throws Error when one was asked for by name and is not there
 */
export function chooseBackend(name: AeadBackend["name"] | "auto"): AeadBackend {
  if (name === "node") return nodeCrypto;
  const openssl = createOpenSsl();
  const chosen =
    (name === "openssl" ? null : createIpsecMb(openssl ?? nodeCrypto)) ??
    (name === "ipsec-mb" ? null : openssl);
  if (chosen !== null) return chosen;
  if (name === "auto") return nodeCrypto;
  throw new Error(
    name === "openssl"
      ? "this Node does not export OpenSSL's functions; leave the choice of crypto to auto"
      : "libIPSec_MB cannot be used here; install libipsec-mb1 or -mb2 on an x86-64 machine, or leave the choice of crypto to auto",
  );
}
