/** ICMP errors and what they quote, byte by byte. */
import { parseAddress } from "../../src/config/address.js";

export interface Wanted {
  readonly src: string;
  readonly dst: string;
  readonly proto: number;
  /** Behind the IP header and what stands between. */
  readonly payload: Uint8Array;
  readonly dscp?: number;
  /** IPv4: flags and offset. */
  readonly fragment?: number;
  /** IPv6: extension headers, and the type of the first. */
  readonly extensions?: { readonly first: number; readonly bytes: Uint8Array };
  /** IPv4: bytes of options, a multiple of 4. */
  readonly options?: number;
}

/** An IP packet; its family is its addresses'. */
export function ipPacket(wanted: Wanted): Uint8Array {
  const { src, dst, proto, payload, dscp = 0, fragment = 0, extensions, options = 0 } = wanted;
  const [from, to] = [src, dst].map(parseAddress);
  if (!from || !to) throw new Error(`${src} or ${dst} is no address`);
  const middle = extensions?.bytes ?? new Uint8Array(options);
  const header = from.family === 4 ? 20 : 40;
  const packet = new Uint8Array(header + middle.length + payload.length);
  const view = new DataView(packet.buffer);
  if (from.family === 4) {
    view.setUint8(0, 0x45 + options / 4);
    view.setUint8(1, dscp << 2);
    view.setUint16(2, packet.length);
    view.setUint16(6, fragment);
    view.setUint8(8, 64);
    view.setUint8(9, proto);
  } else {
    view.setUint32(0, ((6 << 28) | (dscp << 22)) >>> 0);
    view.setUint16(4, packet.length - 40);
    view.setUint8(6, extensions?.first ?? proto);
    view.setUint8(7, 64);
  }
  const at = from.family === 4 ? 12 : 8;
  for (const [w, word] of [...from.words, ...to.words].entries()) view.setUint32(at + 4 * w, word);
  packet.set(middle, header);
  packet.set(payload, header + middle.length);
  return packet;
}

/** The first 8 bytes of a header with ports. */
export function portsOf(sport: number, dport: number): Uint8Array {
  return Uint8Array.of(sport >>> 8, sport, dport >>> 8, dport, 0, 0, 0, 0);
}

/** An ICMP message of this type that quotes these bytes. */
export function icmpMessage(type: number, quoted: Uint8Array): Uint8Array {
  return Uint8Array.of(type, 0, 0, 0, 0, 0, 0, 0, ...quoted);
}
