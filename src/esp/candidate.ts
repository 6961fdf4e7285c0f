import { type PacketSlab, swap16 } from "../sys/packet-slab.js";
import * as framing from "./framing.js";
import * as ip from "./headers.js";

/** All frames that are held at a time have one tag. */
const IF_ID_AND_LINK = framing.SHIM_TAG + framing.SHIM_SIZE - framing.SHIM_IF_ID;

/** What an inner packet is to the coalescer. */
export type Kind =
  /** Neither TCP nor UDP, a fragment, or with options or extension headers: of no flow that we could name. */
  | "no-flow"
  /** Of a flow, but to be delivered alone: its flags, length or checksum forbid more. */
  | "alone"
  /** May be coalesced with its like. */
  | "mergeable";

/** An inner packet's fields, as far as coalescing looks at them. Offsets are in the Slab. */
export class Candidate {
  frame = 0;
  /** First byte of the IP packet. */
  packet = 0;
  v6 = false;
  udp = false;
  /** Length of the IP header, and of all headers. */
  transport = 0;
  header = 0;
  /** Bytes behind the headers. */
  payload = 0;
  /** Sum of the pseudo header. */
  pseudo = 0;
  readonly #slab: PacketSlab;

  constructor(slab: PacketSlab) {
    this.#slab = slab;
  }

  copyFrom(other: Candidate): void {
    this.frame = other.frame;
    this.packet = other.packet;
    this.v6 = other.v6;
    this.udp = other.udp;
    this.transport = other.transport;
    this.header = other.header;
    this.payload = other.payload;
    this.pseudo = other.pseudo;
  }

  /**
   * Reads the framed packet of `size` bytes at `frame`. What may be merged is what net/ipv4/af_inet.c
   * (inet_gro_receive), net/ipv6/ip6_offload.c, net/ipv4/tcp_offload.c and net/ipv4/udp_offload.c take, and no more.
   */
  read(frame: number, size: number): Kind {
    const { view } = this.#slab;
    const packet = frame + framing.FRAME_HEADER_SIZE;
    const length = size - framing.FRAME_HEADER_SIZE;
    const v6 = view.getUint16(frame + framing.PI_PROTO) === framing.ETH_P_IPV6;
    const transport = v6 ? ip.IPV6_HEADER_SIZE : ip.IPV4_HEADER_SIZE;
    if (!(v6 ? this.#isPlainIpv6(packet, length) : this.#isPlainIpv4(packet, length))) return "no-flow";
    const protocol = view.getUint8(packet + (v6 ? ip.IPV6_NEXT_HEADER : ip.IPV4_PROTOCOL));
    this.frame = frame;
    this.packet = packet;
    this.v6 = v6;
    this.transport = transport;
    this.udp = protocol === ip.IPPROTO_UDP;
    const fits = this.udp
      ? this.#fitsUdp(length)
      : protocol === ip.IPPROTO_TCP
        ? this.#fitsTcp(length)
        : null;
    if (fits === null) return "no-flow";
    if (!fits) return "alone";
    this.pseudo = this.pseudoSum(length - transport);
    return this.#checksumHolds(length - transport) ? "mergeable" : "alone";
  }

  /** Sum of the pseudo header (RFC 9293 section 3.1, RFC 8200 section 8.1) with this transport length. */
  pseudoSum(transportLength: number): number {
    const { sum } = this.#slab;
    const seed = swap16(this.udp ? ip.IPPROTO_UDP : ip.IPPROTO_TCP) + swap16(transportLength);
    return this.v6 ? sum(this.packet + ip.IPV6_SOURCE, 32, seed) : sum(this.packet + ip.IPV4_SOURCE, 8, seed);
  }

  /** Whether both are of the same flow of the same connection: metadata, addresses, protocol and ports. */
  sameFlow(other: Candidate): boolean {
    if (this.v6 !== other.v6 || this.udp !== other.udp) return false;
    const source = this.v6 ? ip.IPV6_SOURCE : ip.IPV4_SOURCE;
    // Addresses end where the transport header begins with the ports: one run of bytes.
    return (
      equalWords(
        this.#slab.view,
        this.packet + source,
        other.packet + source,
        ip.TCP_SEQUENCE + (this.v6 ? 32 : 8),
      ) &&
      equalWords(
        this.#slab.view,
        this.frame + framing.SHIM_IF_ID,
        other.frame + framing.SHIM_IF_ID,
        IF_ID_AND_LINK,
      )
    );
  }

  /** Whether the TCP options are the same, byte for byte. */
  sameOptions(other: Candidate): boolean {
    const fixed = this.transport + ip.TCP_HEADER_SIZE;
    return (
      this.header === other.header &&
      equalWords(this.#slab.view, this.packet + fixed, other.packet + fixed, this.header - fixed)
    );
  }

  #isPlainIpv4(packet: number, length: number): boolean {
    const { view, sum } = this.#slab;
    return (
      view.getUint8(packet) === ip.IPV4_PLAIN &&
      view.getUint16(packet + ip.IPV4_TOTAL_LENGTH) === length &&
      (view.getUint16(packet + ip.IPV4_FRAGMENT) & ip.IPV4_IS_FRAGMENT) === 0 &&
      sum(packet, ip.IPV4_HEADER_SIZE, 0) === 0xffff
    );
  }

  #isPlainIpv6(packet: number, length: number): boolean {
    return this.#slab.view.getUint16(packet + ip.IPV6_PAYLOAD_LENGTH) === length - ip.IPV6_HEADER_SIZE;
  }

  /** @returns null where there is not even a whole header */
  #fitsTcp(length: number): boolean | null {
    const { view } = this.#slab;
    if (length < this.transport + ip.TCP_HEADER_SIZE) return null;
    const tcp = this.packet + this.transport;
    const size = (view.getUint8(tcp + ip.TCP_FLAG_WORD) >>> 4) * 4;
    this.header = this.transport + size;
    this.payload = length - this.header;
    const flags = view.getUint8(tcp + ip.TCP_FLAGS);
    const unwanted = ip.TCP_SYN | ip.TCP_RST | ip.TCP_URG | ip.TCP_CWR;
    return size >= ip.TCP_HEADER_SIZE && this.payload > 0 && (flags & (unwanted | ip.TCP_ACK)) === ip.TCP_ACK;
  }

  /** A checksum of 0 (none) is not mergeable: a GSO packet has one. */
  #fitsUdp(length: number): boolean | null {
    const { view } = this.#slab;
    if (length < this.transport + ip.UDP_HEADER_SIZE) return null;
    const udp = this.packet + this.transport;
    this.header = this.transport + ip.UDP_HEADER_SIZE;
    this.payload = length - this.header;
    return (
      this.payload > 0 &&
      view.getUint16(udp + ip.UDP_LENGTH) === length - this.transport &&
      view.getUint16(udp + ip.UDP_CHECKSUM) !== 0
    );
  }

  /** Whether the checksum is right. What we coalesce is taken by the kernel as checked. */
  #checksumHolds(length: number): boolean {
    return this.#slab.sum(this.packet + this.transport, length, this.pseudo) === 0xffff;
  }
}

/** Whether `bytes` (a multiple of 4) bytes at two places are the same. */
function equalWords(view: DataView, a: number, b: number, bytes: number): boolean {
  for (let i = 0; i < bytes; i += 4) if (view.getInt32(a + i) !== view.getInt32(b + i)) return false;
  return true;
}
