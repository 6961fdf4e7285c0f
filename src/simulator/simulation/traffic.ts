import { close } from "../../sys/libc.js";
import { Slab } from "../../sys/slab.js";
import { parseAddress } from "../../sys/sockaddr.js";
import { openUdpSocket } from "../../sys/udp.js";
import { ReceiveVector } from "../../sys/udp-receive.js";
import { Destination, SendVector } from "../../sys/udp-send.js";
import type { Line } from "./ends.js";

/** What no packet on the wire may hold. */
export const MARKER = Buffer.from("this text is not for the wire");
/** The line's number stands behind the marker. */
const LINE = MARKER.length;
const PORT = 7; // echo (RFC 862)
/** Sizes of a round's packets; those of one size go as a GSO packet. */
const BURST = 8;
const SIZES = [...Array.from({ length: BURST }, () => 512), 64, 1111] as const;
export const PACKETS_A_ROUND = SIZES.length;
const MESSAGES = 16;
const CAPACITY = 65536;

/** The application: sends marked UDP packets through every line and counts the answers. */
export class Traffic {
  /** By line. */
  readonly sent: number[];
  readonly received: number[];
  readonly fds: readonly number[];
  readonly #lines: readonly Line[];
  readonly #sockets: ReadonlyMap<string, number>;
  readonly #destinations: readonly Destination[];
  readonly #send = new SendVector(SIZES.length);
  readonly #slab = new Slab(CAPACITY);
  readonly #inbox = new Slab(MESSAGES * CAPACITY);
  readonly #receive = new ReceiveVector(
    Array.from({ length: MESSAGES }, (_, index) => this.#inbox.base + index * CAPACITY),
    CAPACITY,
  );

  /** Opens a socket for each source address in the calling thread's network namespace. @throws SystemError */
  constructor(lines: readonly Line[]) {
    this.#lines = lines;
    this.sent = lines.map(() => 0);
    this.received = lines.map(() => 0);
    const sources = [...new Set(lines.map(({ source }) => source))];
    this.#sockets = new Map(
      sources.map((source) => [source, openUdpSocket(parseAddress(source), PORT, 0)] as const),
    );
    this.fds = [...this.#sockets.values()];
    this.#destinations = lines.map(
      ({ source, destination }) => new Destination(parseAddress(source), parseAddress(destination), PORT, 0),
    );
  }

  /** Sends a round of packets through a line. */
  send(index: number): void {
    const line = this.#lines[index];
    const destination = this.#destinations[index];
    const fd = line && this.#sockets.get(line.source);
    if (destination === undefined || fd === undefined) return;
    const { bytes, view, base } = this.#slab;
    let at = 0;
    for (const size of SIZES) {
      bytes.set(MARKER, at);
      view.setUint32(at + LINE, index);
      this.#send.add(fd, destination, 0, 0, base + at, size);
      at += size;
    }
    for (let from = 0; from < this.#send.length; ) {
      const gone = this.#send.send(from, this.#send.length - from);
      // What the stack refuses is lost, and seen to be: nothing comes back for it.
      from += Math.max(1, gone);
    }
    this.#send.length = 0;
    this.sent[index] = (this.sent[index] ?? 0) + SIZES.length;
  }

  /** Counts what has come back. @returns how many packets */
  serve(): number {
    let count = 0;
    for (const fd of this.fds) {
      for (
        let messages = this.#receive.receive(fd, MESSAGES);
        messages > 0;
        messages = this.#receive.receive(fd, MESSAGES)
      ) {
        for (let index = 0; index < messages; index++) count += this.#count(index);
      }
    }
    return count;
  }

  close(): void {
    for (const fd of this.fds) close(fd);
  }

  #count(message: number): number {
    const receive = this.#receive;
    receive.look(message);
    const { bytes: text, view } = this.#inbox;
    const end = message * CAPACITY + receive.bytes;
    let packets = 0;
    for (let at = message * CAPACITY; at < end; at += receive.size) {
      if (!MARKER.equals(text.subarray(at, at + MARKER.length))) continue;
      const line = view.getUint32(at + LINE);
      this.received[line] = (this.received[line] ?? 0) + 1;
      packets++;
    }
    return packets;
  }
}
