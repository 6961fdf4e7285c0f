import * as ip from "./headers.js";
import { icmpOf, quotedPacket, upperLayer } from "./upper-layer.js";

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

  /**
   * Whether the IP packet at `packet`, whose headers lie before `end`, is one of the selector's. An ICMP error belongs to the flow
   * of the packet that it quotes (RFC 4301 section 6): it is one where a packet of that flow's other direction is, whatever its own
   * addresses are, or where the selector names ICMP and the error itself is one.
   */
  matches(view: DataView, packet: number, end: number): boolean {
    const quoted = quotedPacket(view, packet, end);
    if (quoted < 0) return this.#takes(view, packet, end, false);
    const namesIcmp = this.#selector.protocol === icmpOf(familyOf(view, packet));
    return (namesIcmp && this.#takes(view, packet, end, false)) || this.#takes(view, quoted, end, true);
  }

  /** @param reversed take source and destination for each other */
  #takes(view: DataView, packet: number, end: number, reversed: boolean): boolean {
    const { source, destination } = this.#selector;
    const family = familyOf(view, packet);
    if (this.#family !== null && this.#family !== family) return false;
    const first = packet + (family === 6 ? ip.IPV6_SOURCE : ip.IPV4_SOURCE);
    const second = first + (family === 6 ? 16 : 4);
    return (
      (source === null || within(view, reversed ? second : first, source)) &&
      (destination === null || within(view, reversed ? first : second, destination)) &&
      this.#takesUpper(view, packet, end, reversed)
    );
  }

  #takesUpper(view: DataView, packet: number, end: number, reversed: boolean): boolean {
    const { protocol, sourcePort, destinationPort } = this.#selector;
    if (protocol === null) return true;
    const upper = upperLayer(view, packet, end);
    if (upper.protocol !== protocol) return false;
    if (sourcePort === null && destinationPort === null) return true;
    // As the kernel has it, a packet that does not show its ports has none.
    if (!WITH_PORTS.has(protocol) || upper.header === null || upper.header + 4 > end) return false;
    return (
      inRange(view.getUint16(upper.header + (reversed ? 2 : 0)), sourcePort) &&
      inRange(view.getUint16(upper.header + (reversed ? 0 : 2)), destinationPort)
    );
  }
}

const familyOf = (view: DataView, packet: number): 4 | 6 => (view.getUint8(packet) >>> 4 === 6 ? 6 : 4);

const inRange = (port: number, range: PortRange | null): boolean =>
  range === null || (port >= range.from && port <= range.to);

function within(view: DataView, address: number, { words, length }: SelectorPrefix): boolean {
  return words.every((word, index) => {
    const bits = mask(length - 32 * index);
    return ((view.getUint32(address + 4 * index) ^ word) & bits) === 0;
  });
}
