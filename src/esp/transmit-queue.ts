import { constants } from "node:os";
import type { Slab } from "../sys/slab.js";
import { allowFragments } from "../sys/udp.js";
import { type Destination, SendVector } from "../sys/udp-send.js";
import type { EspSink } from "./outbound.js";
import { COUNTER, type Counters } from "./statistics.js";

const { EAGAIN, EINTR, EINVAL, EIO, EMSGSIZE } = constants.errno;
const MAX_MESSAGES = 64;
/**
 * Enough for one call to carry, and little enough that the receiver need not wait for it: two GSO packets. One takes up
 * a little more than a message holds (UDP_SEGMENT); the rest of it leaves in one with the beginning of the next.
 */
const FLUSH_BYTES = 120_000;

/** A way out of the machine for the ESP packets of an SA. */
export interface Route {
  readonly fd: number;
  readonly destination: Destination;
  /** The link to leave by where a packet's metadata names none; 0 for any. */
  readonly link: number;
}

/**
 * Where ESP packets are sealed to, one behind the other, and from where they are sent: in order, as few calls as
 * possible. Nothing is copied on the way.
 */
export class TransmitQueue<S extends Route> implements EspSink<S> {
  readonly #slab: Slab;
  readonly #counters: Counters;
  readonly #start: number;
  readonly #end: number;
  readonly #waitFor: (fd: number) => void;
  readonly #onTooLarge: (destination: Destination, link: number, size: number) => void;
  readonly #vector = new SendVector(MAX_MESSAGES);
  /** Sockets that have been waited for in the call under way, and have taken nothing since. */
  readonly #full = new Set<number>();
  #next: number;

  /**
   * @param start where in the Slab, and `end` behind it
   * @param waitFor waits for a moment until a socket takes more: that is how a slow link slows the senders down
   * @param onTooLarge is told of ESP packets of `size` bytes that do not fit the path's MTU, and leave in fragments
   */
  constructor(
    slab: Slab,
    counters: Counters,
    start: number,
    end: number,
    waitFor: (fd: number) => void,
    onTooLarge: (destination: Destination, link: number, size: number) => void = () => {},
  ) {
    this.#slab = slab;
    this.#counters = counters;
    this.#start = start;
    this.#end = end;
    this.#next = start;
    this.#waitFor = waitFor;
    this.#onTooLarge = onTooLarge;
  }

  reserve(size: number): number {
    if (this.#next + size > this.#end) this.flush();
    return this.#next;
  }

  commit(route: S, link: number, size: number, tos: number): void {
    const { fd, destination } = route;
    const data = this.#slab.base + this.#next;
    if (!this.#vector.add(fd, destination, link || route.link, tos, data, size)) {
      // The packet in hand stays where it is while the others go.
      this.#sendAll();
      this.#vector.add(fd, destination, link || route.link, tos, data, size);
    }
    this.#next += size;
  }

  /** Whether there is enough to be sent. */
  get isLarge(): boolean {
    return this.#next - this.#start >= FLUSH_BYTES;
  }

  /** Sends everything, and begins at the start again. */
  flush(): void {
    this.#sendAll();
    this.#next = this.#start;
  }

  #sendAll(): void {
    const vector = this.#vector;
    const full = this.#full;
    for (let from = 0; from < vector.length; ) {
      const count = vector.run(from);
      const sent = vector.send(from, count);
      if (sent === -EINTR) continue;
      const { fd } = vector.at(from);
      if (sent === -EAGAIN) {
        if (full.has(fd)) {
          this.#drop(from, count);
          from += count;
        } else {
          this.#waitFor(fd);
          full.add(fd);
        }
        continue;
      }
      if (sent > 0) {
        this.#counters.count(COUNTER.sends);
        full.delete(fd);
      } else this.#failed(from, -sent);
      from += Math.max(1, sent);
    }
    full.clear();
    vector.length = 0;
  }

  /** Gives up the messages to a socket that stays full, so that the others need not wait. */
  #drop(from: number, count: number): void {
    for (let index = from; index < from + count; index++)
      this.#counters.add(COUNTER.txErrors, this.#vector.at(index).segments);
  }

  /**
   * A datagram is to fit the path's MTU (EMSGSIZE; with UDP_SEGMENT also EINVAL: net/ipv4/udp.c, udp_send_skb), and
   * UDP_SEGMENT wants a device that completes checksums (EIO). One by one they are fragmented, or fail for a reason of
   * their own.
   */
  #failed(index: number, number: number): void {
    const { fd, link, size, segments, destination } = this.#vector.at(index);
    const tooLarge = number === EMSGSIZE || (number === EINVAL && segments > 1);
    if (destination === null || !(tooLarge || (number === EIO && segments > 1))) {
      this.#counters.add(COUNTER.txErrors, segments);
      return;
    }
    if (tooLarge) {
      this.#onTooLarge(destination, link, size);
      allowFragments(fd, destination.v4, true);
    } else destination.segmentation = false;
    for (let segment = 0; segment < segments; segment++) {
      if (this.#vector.sendSegment(index, segment) === 0) this.#counters.count(COUNTER.sends);
      else this.#counters.count(COUNTER.txErrors);
    }
    if (tooLarge) allowFragments(fd, destination.v4, false);
  }
}
