import type { PacketSlab } from "../sys/packet-slab.js";
import { learnPathMtu } from "../sys/path-mtu.js";
import type { Destination } from "../sys/udp-send.js";
import * as ip from "./headers.js";
import { innerMtu, type Wrapping } from "./packet.js";
import { ANY_LENGTH } from "./sa.js";
import type { TooBig } from "./too-big.js";

/** RFC 8200 section 5: every path takes that, this one in outer fragments if need be. */
const IPV6_MIN_MTU = 1280;
/**
 * RFC 791 section 3.2: every host takes a datagram of that size, whole or in fragments. What is learnt of a path may be
 * forged: no less is asked of an inner sender, and the packet leaves in outer fragments where it has to.
 */
const IPV4_MIN_MTU = 576;

/** What of an outbound SA its path's MTU depends on, and what is known of that. */
export interface PathState {
  readonly destination: Destination;
  readonly wrapping: Wrapping;
  longest: number;
}

/**
 * Path MTU discovery (RFC 4301 section 8.2), as net/ipv4/xfrm4_output.c and net/ipv6/xfrm6_output.c do it
 * (xfrm4_tunnel_check_size, xfrm6_tunnel_check_size): once it is known what the path takes, inner packets that must not
 * be fragmented are answered by ICMP, and all others leave in outer fragments.
 */
export class PathMtu<S extends PathState> {
  readonly #slab: PacketSlab;
  readonly #answers: TooBig;

  /** @param slab that the inner packets are in */
  constructor(slab: PacketSlab, answers: TooBig) {
    this.#slab = slab;
    this.#answers = answers;
  }

  /** Takes note that the path to a destination did not take an ESP packet of `size` bytes. */
  learn(states: Iterable<S>, destination: Destination, link: number, size: number): void {
    if (!learnPathMtu(destination, link, size)) return;
    for (const state of states)
      if (state.destination === destination) state.longest = innerMtu(destination.mtu, state.wrapping);
  }

  /** Whether an inner packet, out of the frame at `frame`, that is longer than the SA's `longest` is not to be sent. It is answered then. */
  refuses(state: S, frame: number, packet: number, size: number): boolean {
    if (performance.now() >= state.destination.mtuUntil) {
      state.longest = ANY_LENGTH;
      return false;
    }
    const { view } = this.#slab;
    const v6 = view.getUint8(packet) >>> 4 === 6;
    if (!v6 && (view.getUint16(packet + ip.IPV4_FRAGMENT) & ip.IPV4_DF) === 0) return false;
    const mtu = Math.max(state.longest, v6 ? IPV6_MIN_MTU : IPV4_MIN_MTU);
    if (size <= mtu) return false;
    this.#answers.send(frame, packet, size, mtu);
    return true;
  }
}
