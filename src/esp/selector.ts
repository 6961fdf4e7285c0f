import * as ip from "./headers.js";

export interface SelectorPrefix {
  readonly family: 4 | 6;
  /** 32-bit words in host order, bits behind the length zero. */
  readonly words: readonly number[];
  readonly length: number;
}

export interface PortRange {
  readonly from: number;
  readonly to: number;
}

/** Which inner packets a policy is for (RFC 4301 section 4.4.1.1); null stands for any. */
export interface Selector {
  readonly source: SelectorPrefix | null;
  readonly destination: SelectorPrefix | null;
  readonly protocol: number | null;
  readonly sourcePort: PortRange | null;
  readonly destinationPort: PortRange | null;
}

export const ANY_SELECTOR: Selector = {
  source: null,
  destination: null,
  protocol: null,
  sourcePort: null,
  destinationPort: null,
};

export const isAny = (selector: Selector): boolean =>
  Object.values(selector).every((field) => field === null);

const IPPROTO_FRAGMENT = 44;
/** Hop-by-hop options, routing, destination options: {next header, length in 8 bytes without the first 8}. */
const EXTENSIONS = new Set([0, 43, 60]);
const IPV6_FRAGMENT_OFFSET = 0xfff8;
/** Protocols whose header begins with the ports: TCP, UDP, DCCP, SCTP, UDP-Lite (net/xfrm/xfrm_policy.c, decode_session4). */
const WITH_PORTS = new Set([6, 17, 33, 132, 136]);

const mask = (bits: number): number =>
  bits <= 0 ? 0 : bits >= 32 ? 0xffffffff : (0xffffffff << (32 - bits)) >>> 0;

/** A selector made ready to be held against packets in a Slab. */
export class SelectorTest {
  readonly #selector: Selector;
  readonly #family: 4 | 6 | null;

  constructor(selector: Selector) {
    this.#selector = selector;
    this.#family = selector.source?.family ?? selector.destination?.family ?? null;
  }

  /** Whether the IP packet at `packet`, whose headers lie before `end`, is one of the selector's. */
  matches(view: DataView, packet: number, end: number): boolean {
    const { source, destination } = this.#selector;
    const family = view.getUint8(packet) >>> 4 === 6 ? 6 : 4;
    if (this.#family !== null && this.#family !== family) return false;
    const from = packet + (family === 6 ? ip.IPV6_SOURCE : ip.IPV4_SOURCE);
    const to = from + (family === 6 ? 16 : 4);
    return (
      (source === null || within(view, from, source)) &&
      (destination === null || within(view, to, destination)) &&
      this.#matchesUpper(view, packet, end, family)
    );
  }

  #matchesUpper(view: DataView, packet: number, end: number, family: 4 | 6): boolean {
    const { protocol, sourcePort, destinationPort } = this.#selector;
    if (protocol === null) return true;
    const upper = family === 6 ? upperLayer6(view, packet, end) : upperLayer4(view, packet);
    if (upper.protocol !== protocol) return false;
    if (sourcePort === null && destinationPort === null) return true;
    // As the kernel has it, a packet that does not show its ports has none.
    if (!WITH_PORTS.has(protocol) || upper.ports === null || upper.ports + 4 > end) return false;
    return (
      inRange(view.getUint16(upper.ports), sourcePort) &&
      inRange(view.getUint16(upper.ports + 2), destinationPort)
    );
  }
}

const inRange = (port: number, range: PortRange | null): boolean =>
  range === null || (port >= range.from && port <= range.to);

function within(view: DataView, address: number, { words, length }: SelectorPrefix): boolean {
  return words.every((word, index) => {
    const bits = mask(length - 32 * index);
    return ((view.getUint32(address + 4 * index) ^ word) & bits) === 0;
  });
}

interface UpperLayer {
  readonly protocol: number;
  /** Where its header is, null in a later fragment. */
  readonly ports: number | null;
}

function upperLayer4(view: DataView, packet: number): UpperLayer {
  const later = (view.getUint16(packet + ip.IPV4_FRAGMENT) & ip.IPV4_OFFSET) !== 0;
  const header = (view.getUint8(packet) & 15) * 4;
  return { protocol: view.getUint8(packet + ip.IPV4_PROTOCOL), ports: later ? null : packet + header };
}

function upperLayer6(view: DataView, packet: number, end: number): UpperLayer {
  let protocol = view.getUint8(packet + ip.IPV6_NEXT_HEADER);
  let at = packet + ip.IPV6_HEADER_SIZE;
  while (at + 8 <= end) {
    if (protocol === IPPROTO_FRAGMENT) {
      const later = (view.getUint16(at + 2) & IPV6_FRAGMENT_OFFSET) !== 0;
      if (later) return { protocol: view.getUint8(at), ports: null };
      protocol = view.getUint8(at);
      at += 8;
    } else if (EXTENSIONS.has(protocol)) {
      protocol = view.getUint8(at);
      at += 8 * (view.getUint8(at + 1) + 1);
    } else break;
  }
  return { protocol, ports: at };
}
