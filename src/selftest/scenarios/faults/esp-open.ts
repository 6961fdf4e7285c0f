import { createDecipheriv } from "node:crypto";

const IPPROTO_UDP = 17;
const UDP_ENCAP_PORT = 4500;
const ESP_HEADER = 8;
const IV = 8;
const ICV = 16;
const AES128_KEY = 16;

/**
 * Opens a frame of UDP-encapsulated ESP over IPv4 (RFC 3948) with the key of its SA, AES-128-GCM (RFC 4106).
 * @param keys keying material (16 bytes of key, 4 of salt) by SPI
 * @returns SPI and plaintext with its padding; null for a frame that is no such ESP or of another SPI
 * @throws Error where the integrity check fails
 */
export function openEsp(
  frame: Buffer,
  keys: ReadonlyMap<number, Buffer>,
): { spi: number; inner: Buffer } | null {
  if (frame.length < 14 + 20 + 8 + ESP_HEADER + IV + ICV || frame.readUInt16BE(12) !== 0x0800) return null;
  const udp = 14 + ((frame[14] as number) & 15) * 4;
  if (frame[14 + 9] !== IPPROTO_UDP || frame.readUInt16BE(udp + 2) !== UDP_ENCAP_PORT) return null;
  const esp = frame.subarray(udp + 8, udp + frame.readUInt16BE(udp + 4));
  const spi = esp.readUInt32BE(0);
  const key = keys.get(spi);
  if (key === undefined) return null;
  const nonce = Buffer.concat([key.subarray(AES128_KEY), esp.subarray(ESP_HEADER, ESP_HEADER + IV)]);
  const decipher = createDecipheriv("aes-128-gcm", key.subarray(0, AES128_KEY), nonce);
  decipher.setAAD(esp.subarray(0, ESP_HEADER)).setAuthTag(esp.subarray(-ICV));
  const inner = Buffer.concat([decipher.update(esp.subarray(ESP_HEADER + IV, -ICV)), decipher.final()]);
  return { spi, inner };
}
