/**
 * What a suite makes of an ESP packet (RFC 4303 section 2), in bytes. Behind the SPI and the sequence number stand the
 * IV, the ciphertext of {payload, padding, pad length, next header}, and the integrity check value.
 */
interface Shape {
  readonly ivSize: number;
  readonly icvSize: number;
  /** What the ciphertext is a multiple of: the cipher's block, and 4 (RFC 4303 section 2.4). */
  readonly alignment: number;
  /** Keying material: encryption key first, salt or integrity key behind it (RFC 7296 section 2.17). */
  readonly keySize: number;
}

/** Combined-mode cipher. The nonce is the salt and the packet's IV. */
export interface AeadSuite extends Shape {
  readonly kind: "aead";
  /** OpenSSL's name, which node:crypto takes in lower case. */
  readonly cipher: string;
  readonly saltSize: number;
}

/** Encryption, or none, and a truncated HMAC over all that is sent, with the high sequence number behind it if extended. */
export interface HmacSuite extends Shape {
  readonly kind: "hmac";
  /** OpenSSL's name of the cipher, null where nothing is encrypted. */
  readonly cipher: string | null;
  /** OpenSSL's name of the digest, and its output in bytes: the integrity key's size (RFC 2404, RFC 4868 section 2.1.1). */
  readonly digest: string;
  readonly digestSize: number;
}

export type Suite = AeadSuite | HmacSuite;

/** RFC 4106 section 4 and RFC 7634 section 2: 4 bytes of salt and 8 of IV. */
export const SALT_SIZE = 4;
export const NONCE_SIZE = 12;
const AEAD_IV_SIZE = 8;
const AES_BLOCK = 16;

const aead = (cipher: string, cipherKey: number): AeadSuite => ({
  kind: "aead",
  cipher,
  saltSize: SALT_SIZE,
  ivSize: AEAD_IV_SIZE,
  icvSize: 16,
  alignment: 4,
  keySize: cipherKey + SALT_SIZE,
});

/** A digest by OpenSSL's name, with the bytes of its output and of them those that make the ICV. */
interface Digest {
  readonly name: string;
  readonly size: number;
  readonly icv: number;
}

/** RFC 2404 section 2: 96 of 160 bits. */
const SHA1: Digest = { name: "SHA1", size: 20, icv: 12 };
/** RFC 4868 section 2.3: half of the output. */
const SHA256: Digest = { name: "SHA256", size: 32, icv: 16 };
const SHA384: Digest = { name: "SHA384", size: 48, icv: 24 };
const SHA512: Digest = { name: "SHA512", size: 64, icv: 32 };

const hmac = (cipher: string | null, cipherKey: number, digest: Digest): HmacSuite => ({
  kind: "hmac",
  cipher,
  digest: digest.name,
  digestSize: digest.size,
  ivSize: cipher === null ? 0 : AES_BLOCK,
  icvSize: digest.icv,
  alignment: cipher === null ? 4 : AES_BLOCK,
  keySize: cipherKey + digest.size,
});

/** RFC 4106, RFC 7634, RFC 3602 with RFC 2404 or RFC 4868, RFC 2410 with the same. */
const TABLE = {
  "aes128-gcm": aead("AES-128-GCM", 16),
  "aes192-gcm": aead("AES-192-GCM", 24),
  "aes256-gcm": aead("AES-256-GCM", 32),
  "chacha20-poly1305": aead("ChaCha20-Poly1305", 32),
  "aes128-cbc-sha1": hmac("AES-128-CBC", 16, SHA1),
  "aes128-cbc-sha256": hmac("AES-128-CBC", 16, SHA256),
  "aes128-cbc-sha384": hmac("AES-128-CBC", 16, SHA384),
  "aes128-cbc-sha512": hmac("AES-128-CBC", 16, SHA512),
  "aes192-cbc-sha1": hmac("AES-192-CBC", 24, SHA1),
  "aes192-cbc-sha256": hmac("AES-192-CBC", 24, SHA256),
  "aes192-cbc-sha384": hmac("AES-192-CBC", 24, SHA384),
  "aes192-cbc-sha512": hmac("AES-192-CBC", 24, SHA512),
  "aes256-cbc-sha1": hmac("AES-256-CBC", 32, SHA1),
  "aes256-cbc-sha256": hmac("AES-256-CBC", 32, SHA256),
  "aes256-cbc-sha384": hmac("AES-256-CBC", 32, SHA384),
  "aes256-cbc-sha512": hmac("AES-256-CBC", 32, SHA512),
  "null-sha1": hmac(null, 0, SHA1),
  "null-sha256": hmac(null, 0, SHA256),
  "null-sha384": hmac(null, 0, SHA384),
  "null-sha512": hmac(null, 0, SHA512),
};

export type SuiteName = keyof typeof TABLE;

export const SUITES: Readonly<Record<SuiteName, Suite>> = TABLE;

export const SUITE_NAMES = Object.keys(TABLE) as [SuiteName, ...SuiteName[]];

/** Bytes of keying material. */
export const keymatSize = (suite: SuiteName): number => SUITES[suite].keySize;

/** What the keying material consists of, for messages. */
export function keymatParts(suite: SuiteName): string {
  const described = SUITES[suite];
  if (described.kind === "aead")
    return `a ${described.keySize - described.saltSize}-byte key and ${described.saltSize} bytes of salt`;
  const key = described.keySize - described.digestSize;
  const integrity = `a ${described.digestSize}-byte integrity key`;
  return key === 0 ? integrity : `a ${key}-byte encryption key and ${integrity}`;
}
