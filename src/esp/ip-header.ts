import { AF_INET } from "../sys/libc.js";
import { fold16, type PacketSlab } from "../sys/packet-slab.js";
import { parseAddress } from "../sys/sockaddr.js";
import * as ip from "./headers.js";

/** net/ipv4/route.c, IPDEFTTL: the outer packet's own is not reported by every socket. */
const HOP_LIMIT = 64;

/**
 * The two addresses of the inner packets of a transport or BEET mode SA, which are not sent: what a packet must have to
 * be sealed, and what an opened one gets back.
 */
export class AddressPair {
  readonly v6: boolean;
  /** Length of an IP header of this family without options. */
  readonly headerSize: number;
  /** Source and destination, one behind the other, in network byte order. */
  readonly #bytes: Uint8Array;
  readonly #words: readonly number[];

  /** @param source and `destination` as address text, of one family */
  constructor(source: string, destination: string) {
    const from = parseAddress(source);
    const to = parseAddress(destination);
    this.v6 = from.family !== AF_INET;
    this.headerSize = this.v6 ? ip.IPV6_HEADER_SIZE : ip.IPV4_HEADER_SIZE;
    this.#bytes = Uint8Array.from([...from.bytes, ...to.bytes]);
    const view = new DataView(this.#bytes.buffer);
    this.#words = Array.from({ length: this.#bytes.length / 4 }, (_, index) => view.getUint32(4 * index));
  }

  /** Whether the IP packet at `packet`, of `size` bytes, goes from the one to the other. */
  matches(view: DataView, packet: number, size: number): boolean {
    if (size < this.headerSize || (view.getUint8(packet) >>> 4 === 6) !== this.v6) return false;
    const at = packet + (this.v6 ? ip.IPV6_SOURCE : ip.IPV4_SOURCE);
    return this.#words.every((word, index) => view.getUint32(at + 4 * index) === word);
  }

  /**
   * Writes an IP header at `packet`, in front of `optionsSize` bytes of IPv4 options and the payload.
   * @param size of the whole packet
   * @param tos type of service or traffic class
   */
  write(
    slab: PacketSlab,
    packet: number,
    size: number,
    optionsSize: number,
    protocol: number,
    tos: number,
  ): void {
    const { view, bytes, sum } = slab;
    if (this.v6) {
      view.setUint32(packet, 0x60000000 + tos * 2 ** 20);
      view.setUint16(packet + ip.IPV6_PAYLOAD_LENGTH, size - ip.IPV6_HEADER_SIZE);
      view.setUint8(packet + ip.IPV6_NEXT_HEADER, protocol);
      view.setUint8(packet + ip.IPV6_HOP_LIMIT, HOP_LIMIT);
      bytes.set(this.#bytes, packet + ip.IPV6_SOURCE);
      return;
    }
    view.setUint8(packet, ip.IPV4_PLAIN + optionsSize / 4);
    view.setUint8(packet + ip.IPV4_TOS, tos);
    view.setUint16(packet + ip.IPV4_TOTAL_LENGTH, size);
    // An atomic datagram needs no identification (RFC 6864 section 4.1).
    view.setUint16(packet + ip.IPV4_ID, 0);
    view.setUint16(packet + ip.IPV4_FRAGMENT, ip.IPV4_DF);
    view.setUint8(packet + ip.IPV4_TTL, HOP_LIMIT);
    view.setUint8(packet + ip.IPV4_PROTOCOL, protocol);
    view.setUint16(packet + ip.IPV4_CHECKSUM, 0);
    bytes.set(this.#bytes, packet + ip.IPV4_SOURCE);
    const header = fold16(sum(packet, ip.IPV4_HEADER_SIZE + optionsSize, 0));
    view.setUint16(packet + ip.IPV4_CHECKSUM, ~header & 0xffff, true);
  }
}
