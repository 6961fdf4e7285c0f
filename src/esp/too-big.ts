import { write } from "../sys/libc.js";
import { PacketSlab, swap16 } from "../sys/packet-slab.js";
import * as framing from "./framing.js";
import * as ip from "./headers.js";

const IPPROTO_ICMP = 1;
const IPPROTO_ICMPV6 = 58;
const ICMP_SIZE = 8;
const ICMP_CHECKSUM = 2;
const ICMP_MTU = 4;
const ICMP_DEST_UNREACH = 3;
const ICMP_FRAG_NEEDED = 4;
const ICMPV6_PKT_TOOBIG = 2;
/** ICMP's errors: unreachable, source quench, redirect, time exceeded, parameter problem. ICMPv6's are below 128. */
const ICMP_ERRORS: ReadonlySet<number> = new Set([3, 4, 5, 11, 12]);
const ICMPV6_INFORMATION = 128;
/** An answer is no longer than that (RFC 1812 section 4.3.2.3, RFC 4443 section 3.2). */
const MAX_IPV4 = 576;
const MAX_IPV6 = 1280;
const HOP_LIMIT = 64;
/** As a router's: internetwork control (RFC 1812 section 4.3.2.5). */
const TOS = 0xc0;
/** The answers come from this machine itself. */
const LOOPBACK_IFINDEX = 1;
/** What net.ipv4.icmp_msgs_per_sec and icmp_msgs_burst are by default. */
const PER_MS = 1;
const BURST = 50;
const FRAME = 6;

/**
 * Tells senders that a packet is too big: ICMP "fragmentation needed" (RFC 1191) or ICMPv6 "packet too big" (RFC 8201),
 * written to a TUN device. It comes from the address that the packet was for, as in net/ipv4/ip_tunnel_core.c
 * (iptunnel_pmtud_build_icmp): the kernel takes none of its own addresses from outside.
 */
export class TooBig {
  readonly #packets: PacketSlab;
  readonly #tunFd: number;
  readonly #now: () => number;
  readonly #slab = new PacketSlab(2 ** 11);
  /** A token bucket: answers that may be sent at once. */
  #tokens = BURST;
  #filled = 0;

  /**
   * @param packets where they are
   * @param now a clock in milliseconds that never goes back
   */
  constructor(packets: PacketSlab, tunFd: number, now = () => performance.now()) {
    this.#packets = packets;
    this.#now = now;
    this.#tunFd = tunFd;
  }

  /**
   * Answers the IP packet of `size` bytes at `packet`, unless it is of a kind that never is, or there were too many.
   * @param frame the frame that it was in, which names the connection and the epoch in which it is named so
   */
  send(frame: number, packet: number, size: number, mtu: number): void {
    const v6 = this.#packets.view.getUint8(packet) >>> 4 === 6;
    if (!(v6 ? this.#mayAnswer6(packet) : this.#mayAnswer4(packet)) || !this.#take(this.#now())) return;
    const { view, bytes, base } = this.#slab;
    const header = v6 ? ip.IPV6_HEADER_SIZE : ip.IPV4_HEADER_SIZE;
    const quoted = Math.min(size, (v6 ? MAX_IPV6 : MAX_IPV4) - header - ICMP_SIZE);
    const answer = FRAME + framing.FRAME_HEADER_SIZE;
    const icmp = answer + header;
    bytes.fill(0, FRAME, icmp + ICMP_SIZE);
    view.setUint16(FRAME + framing.PI_PROTO, v6 ? framing.ETH_P_IPV6 : framing.ETH_P_IP);
    const { view: given } = this.#packets;
    view.setUint32(FRAME + framing.SHIM_TAG, given.getUint32(frame + framing.SHIM_TAG));
    view.setUint32(FRAME + framing.SHIM_IF_ID, given.getUint32(frame + framing.SHIM_IF_ID));
    view.setInt32(FRAME + framing.SHIM_LINK, LOOPBACK_IFINDEX, true);
    bytes.set(this.#packets.bytes.subarray(packet, packet + quoted), icmp + ICMP_SIZE);
    view.setUint32(icmp + ICMP_MTU, mtu);
    if (v6) this.#complete6(answer, packet, ICMP_SIZE + quoted);
    else this.#complete4(answer, packet, ICMP_SIZE + quoted);
    // A device that is down takes none, and a sender that hears nothing tries again.
    write(this.#tunFd, base + FRAME, icmp + ICMP_SIZE + quoted - FRAME);
  }

  #complete4(answer: number, packet: number, size: number): void {
    const { view, sum } = this.#slab;
    const icmp = answer + ip.IPV4_HEADER_SIZE;
    view.setUint8(answer, ip.IPV4_PLAIN);
    view.setUint8(answer + ip.IPV4_TOS, TOS);
    view.setUint16(answer + ip.IPV4_TOTAL_LENGTH, ip.IPV4_HEADER_SIZE + size);
    view.setUint16(answer + ip.IPV4_FRAGMENT, ip.IPV4_DF);
    view.setUint8(answer + ip.IPV4_TTL, HOP_LIMIT);
    view.setUint8(answer + ip.IPV4_PROTOCOL, IPPROTO_ICMP);
    this.#swapAddresses(answer + ip.IPV4_SOURCE, packet + ip.IPV4_SOURCE, 4);
    view.setUint16(answer + ip.IPV4_CHECKSUM, ~sum(answer, ip.IPV4_HEADER_SIZE, 0) & 0xffff, true);
    view.setUint8(icmp, ICMP_DEST_UNREACH);
    view.setUint8(icmp + 1, ICMP_FRAG_NEEDED);
    view.setUint16(icmp + ICMP_CHECKSUM, ~sum(icmp, size, 0) & 0xffff, true);
  }

  #complete6(answer: number, packet: number, size: number): void {
    const { view, sum } = this.#slab;
    const icmp = answer + ip.IPV6_HEADER_SIZE;
    view.setUint32(answer, 0x60000000);
    view.setUint16(answer + ip.IPV6_PAYLOAD_LENGTH, size);
    view.setUint8(answer + ip.IPV6_NEXT_HEADER, IPPROTO_ICMPV6);
    view.setUint8(answer + ip.IPV6_HOP_LIMIT, HOP_LIMIT);
    this.#swapAddresses(answer + ip.IPV6_SOURCE, packet + ip.IPV6_SOURCE, 16);
    view.setUint8(icmp, ICMPV6_PKT_TOOBIG);
    const pseudo = sum(answer + ip.IPV6_SOURCE, 32, swap16(size) + swap16(IPPROTO_ICMPV6));
    view.setUint16(icmp + ICMP_CHECKSUM, ~sum(icmp, size, pseudo) & 0xffff, true);
  }

  /** Writes the pair of addresses at `from`, each of `size` bytes, the other way round. */
  #swapAddresses(to: number, from: number, size: number): void {
    const { bytes } = this.#packets;
    this.#slab.bytes.set(bytes.subarray(from + size, from + 2 * size), to);
    this.#slab.bytes.set(bytes.subarray(from, from + size), to + size);
  }

  /** RFC 1812 section 4.3.2.7: no answer to errors, to later fragments, and where an address is not that of one host. */
  #mayAnswer4(packet: number): boolean {
    const { view } = this.#packets;
    if ((view.getUint16(packet + ip.IPV4_FRAGMENT) & ip.IPV4_OFFSET) !== 0) return false;
    const isHost = (network: number): boolean => network > 0 && network < 224;
    const source = packet + ip.IPV4_SOURCE;
    if (!isHost(view.getUint8(source)) || !isHost(view.getUint8(source + 4))) return false;
    const upper = packet + (view.getUint8(packet) & 15) * 4;
    return (
      view.getUint8(packet + ip.IPV4_PROTOCOL) !== IPPROTO_ICMP || !ICMP_ERRORS.has(view.getUint8(upper))
    );
  }

  /** RFC 4443 section 2.4 (e); a packet to many has no address that the answer could come from. */
  #mayAnswer6(packet: number): boolean {
    const { view, bytes } = this.#packets;
    const source = packet + ip.IPV6_SOURCE;
    if (view.getUint8(source) === 0xff || view.getUint8(source + 16) === 0xff) return false;
    if (bytes.subarray(source, source + 16).every((byte) => byte === 0)) return false;
    return (
      view.getUint8(packet + ip.IPV6_NEXT_HEADER) !== IPPROTO_ICMPV6 ||
      view.getUint8(packet + ip.IPV6_HEADER_SIZE) >= ICMPV6_INFORMATION
    );
  }

  #take(now: number): boolean {
    this.#tokens = Math.min(BURST, this.#tokens + (now - this.#filled) * PER_MS);
    this.#filled = now;
    if (this.#tokens < 1) return false;
    this.#tokens--;
    return true;
  }
}
