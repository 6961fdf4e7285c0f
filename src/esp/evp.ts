import koffi from "koffi";

type Call = (...args: number[]) => number;

/** OpenSSL's EVP and HMAC functions; pointers are numbers, and 1 is success. */
export interface Evp {
  readonly fetch: (context: number, name: string, properties: number) => number;
  readonly freeMethod: (method: number) => void;
  readonly newContext: Call;
  readonly freeContext: (context: number) => void;
  readonly init: Call;
  readonly setPadding: Call;
  readonly encryptUpdate: Call;
  readonly decryptUpdate: Call;
  readonly digestByName: (name: string) => number;
  readonly newHmac: Call;
  readonly freeHmac: (context: number) => void;
  readonly hmacInit: Call;
  readonly hmacUpdate: Call;
  readonly hmacFinal: Call;
}

/** @returns null where Node links a shared or another crypto library; another copy of libcrypto beside its own would crash */
export function bindEvp(): Evp | null {
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
      setPadding: node.func("EVP_CIPHER_CTX_set_padding", i, [p, i]),
      encryptUpdate: node.func("EVP_EncryptUpdate", i, [p, p, p, p, i]),
      decryptUpdate: node.func("EVP_DecryptUpdate", i, [p, p, p, p, i]),
      digestByName: node.func("EVP_get_digestbyname", p, ["str"]),
      newHmac: node.func("HMAC_CTX_new", p, []),
      freeHmac: node.func("HMAC_CTX_free", "void", [p]),
      hmacInit: node.func("HMAC_Init_ex", i, [p, p, i, p, p]),
      hmacUpdate: node.func("HMAC_Update", i, [p, p, p]),
      hmacFinal: node.func("HMAC_Final", i, [p, p, p]),
    };
  } catch {
    return null;
  }
}

/** EVP_CipherInit_ex keeps the direction of the call before. */
export const KEEP_DIRECTION = -1;

/**
 * Prepares a cipher context.
 * @param key address of the key
 * @param iv address of the first IV, 0 for none yet
 * @throws Error naming the cipher
 */
export function newCipher(evp: Evp, cipher: string, key: number, iv: number, encrypt: boolean): number {
  const context = evp.newContext();
  const method = evp.fetch(0, cipher, 0);
  // Initialising takes a reference to the method of its own; freeing 0 does nothing.
  const ready = context !== 0 && method !== 0 && evp.init(context, method, 0, key, iv, encrypt ? 1 : 0) === 1;
  evp.freeMethod(method);
  if (ready) return context;
  evp.freeContext(context);
  throw new Error(
    `preparing ${cipher}: OpenSSL refused; its provider or FIPS configuration may leave the cipher out`,
  );
}
