import { keymatSize, type SuiteName } from "../../../esp/index.js";
import type { Namespace } from "../../namespace.js";
import { type Cell, cellAddress, cellSpi, DATAGRAM_PORT, type End, ESP_PORT, outerAddress } from "./cells.js";

/** How `ip xfrm` takes a suite: the parts of the keying material, and the ICV's length in bits. */
interface KernelSuite {
  readonly encryption?: { readonly name: string; readonly bytes: number };
  readonly integrity?: { readonly name: string; readonly icvBits: number };
  readonly aead?: { readonly name: string };
}

const aead = (name: string): KernelSuite => ({ aead: { name } });
const hmac = (digest: string, icvBits: number, cipher: string, bytes: number): KernelSuite => ({
  encryption: { name: cipher, bytes },
  integrity: { name: `hmac(${digest})`, icvBits },
});

const KERNEL_SUITES: Readonly<Record<SuiteName, KernelSuite>> = {
  "aes128-gcm": aead("rfc4106(gcm(aes))"),
  "aes192-gcm": aead("rfc4106(gcm(aes))"),
  "aes256-gcm": aead("rfc4106(gcm(aes))"),
  "chacha20-poly1305": aead("rfc7539esp(chacha20,poly1305)"),
  "aes128-cbc-sha1": hmac("sha1", 96, "cbc(aes)", 16),
  "aes128-cbc-sha256": hmac("sha256", 128, "cbc(aes)", 16),
  "aes128-cbc-sha384": hmac("sha384", 192, "cbc(aes)", 16),
  "aes128-cbc-sha512": hmac("sha512", 256, "cbc(aes)", 16),
  "aes192-cbc-sha1": hmac("sha1", 96, "cbc(aes)", 24),
  "aes192-cbc-sha256": hmac("sha256", 128, "cbc(aes)", 24),
  "aes192-cbc-sha384": hmac("sha384", 192, "cbc(aes)", 24),
  "aes192-cbc-sha512": hmac("sha512", 256, "cbc(aes)", 24),
  "aes256-cbc-sha1": hmac("sha1", 96, "cbc(aes)", 32),
  "aes256-cbc-sha256": hmac("sha256", 128, "cbc(aes)", 32),
  "aes256-cbc-sha384": hmac("sha384", 192, "cbc(aes)", 32),
  "aes256-cbc-sha512": hmac("sha512", 256, "cbc(aes)", 32),
  "null-sha1": hmac("sha1", 96, "ecb(cipher_null)", 0),
  "null-sha256": hmac("sha256", 128, "ecb(cipher_null)", 0),
  "null-sha384": hmac("sha384", 192, "ecb(cipher_null)", 0),
  "null-sha512": hmac("sha512", 256, "ecb(cipher_null)", 0),
};

/** Keying material of both directions of a cell. */
export type CellKeys = Readonly<Record<End, Buffer>>;

const ICV_BITS = 128;

function algorithms(suite: SuiteName, key: Buffer): string {
  if (key.length !== keymatSize(suite))
    throw new Error(`${suite} with ${key.length} bytes of keying material`);
  const { aead: combined, encryption, integrity } = KERNEL_SUITES[suite];
  const hex = (bytes: Buffer): string => (bytes.length === 0 ? '""' : `0x${bytes.toString("hex")}`);
  if (combined) return `aead ${combined.name} ${hex(key)} ${ICV_BITS}`;
  if (!encryption || !integrity) throw new Error(`${suite} is not in the kernel's table`);
  const split = encryption.bytes;
  return [
    `enc ${encryption.name} ${hex(key.subarray(0, split))}`,
    `auth-trunc ${integrity.name} ${hex(key.subarray(split))} ${integrity.icvBits}`,
  ].join(" ");
}

const opposite = (end: End): End => (end === "ours" ? "kernel" : "ours");

function state(cell: Cell, sender: End, keys: CellKeys): string {
  const { mode, suite, index, esn, encapsulation } = cell;
  const receiver = opposite(sender);
  // A tunnel's selector would be bound to the outer family by default.
  const flags = [...(esn ? ["esn"] : []), ...(mode === "tunnel" ? ["af-unspec"] : [])];
  return [
    `xfrm state add src ${outerAddress(cell, sender)} dst ${outerAddress(cell, receiver)} proto esp`,
    `spi ${cellSpi(cell, sender)} reqid ${index} mode ${mode} replay-window 128`,
    algorithms(suite, keys[sender]),
    flags.length === 0 ? "" : `flag ${flags.join(" ")}`,
    encapsulation === "udp" ? `encap espinudp ${ESP_PORT} ${ESP_PORT} 0.0.0.0` : "",
    mode === "beet" ? `sel src ${cellAddress(cell, sender)} dst ${cellAddress(cell, receiver)}` : "",
  ].join(" ");
}

function policy(cell: Cell, sender: End): string {
  const { mode, index } = cell;
  const receiver = opposite(sender);
  // In transport mode ESP in UDP has the same addresses: it must not match, or it would be dropped for want of ESP.
  const upper = `proto 17 sport ${DATAGRAM_PORT} dport ${DATAGRAM_PORT}`;
  const ends =
    mode === "transport" ? "" : `src ${outerAddress(cell, sender)} dst ${outerAddress(cell, receiver)}`;
  return [
    `xfrm policy add src ${cellAddress(cell, sender)} dst ${cellAddress(cell, receiver)} ${upper}`,
    `dir ${sender === "kernel" ? "out" : "in"} tmpl ${ends} proto esp reqid ${index} mode ${mode}`,
  ].join(" ");
}

/** Installs the SAs and policies of all cells. */
export async function setUpKernelEnd(
  namespace: Namespace,
  cells: readonly Cell[],
  keys: readonly CellKeys[],
): Promise<void> {
  const lines = cells.flatMap((cell, at) => {
    const own = keys[at] as CellKeys;
    return [
      state(cell, "kernel", own),
      state(cell, "ours", own),
      policy(cell, "kernel"),
      policy(cell, "ours"),
    ];
  });
  await namespace.ip(lines.join("\n"));
}
