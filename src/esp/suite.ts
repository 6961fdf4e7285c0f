/** AES-GCM suites of RFC 4106, with a 16-byte ICV. */
export const SUITES = {
  "aes128-gcm": { cipher: "AES-128-GCM", keySize: 16 },
  "aes256-gcm": { cipher: "AES-256-GCM", keySize: 32 },
} as const;

export type SuiteName = keyof typeof SUITES;

/** RFC 4106 section 4: the nonce is a secret salt and the packet's explicit IV. */
export const SALT_SIZE = 4;
export const IV_SIZE = 8;
export const NONCE_SIZE = SALT_SIZE + IV_SIZE;

/** Bytes of keying material: the key and behind it the salt (RFC 4106 section 8.1). */
export const keymatSize = (suite: SuiteName): number => SUITES[suite].keySize + SALT_SIZE;
