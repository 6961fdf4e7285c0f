import koffi from "koffi";
import { nativePath } from "../sys/paths.js";
import { Slab } from "../sys/slab.js";

/** native/burst.c: struct burst, in words of 4 bytes. */
const BURST = {
  cipher: 0,
  iovecs: 2,
  datagrams: 4,
  size: 5,
  count: 6,
  spi: 7,
  sequenceHigh: 8,
  sequence: 9,
  head: 10,
  headers: 11,
  transport: 12,
  payload: 13,
  v6: 14,
  udp: 15,
  idAhead: 16,
  idStep: 17,
  tcpSequence: 18,
  pseudo: 19,
  next: 20,
} as const;
const BURST_WORDS = 22;

const openBurst: (burst: number, packets: number) => number = koffi
  .load(nativePath("burst"))
  .func("burst_open", "uint32_t", ["uintptr_t", "uintptr_t"]);

/** native/burst.c, enum opened: what became of a datagram. */
export const OPENED = {
  /** It is as it came. */
  NOT: 0,
  /** It is authentic, and decrypted in place. */
  AUTHENTIC: 1,
  /** It is not, and of no more use. */
  FORGED: 2,
} as const;
export type Opened = (typeof OPENED)[keyof typeof OPENED];

/** Datagrams of one message and one SA, next to each other in a Slab. */
export interface Datagrams {
  /** struct cipher of the SA. */
  readonly cipher: Slab;
  /** Offset of the first datagram, bytes of each, and how many there are. */
  readonly at: number;
  readonly size: number;
  readonly count: number;
  readonly spi: number;
  /** One more than the highest number that was accepted. The lower half must not overflow. */
  readonly sequenceHigh: number;
  readonly sequence: number;
}

/** What a packet is to continue. */
export interface BurstHead {
  /** Offset of the first packet of the burst, whose headers, and their checksum in IPv4, have been looked at. */
  readonly packet: number;
  /** Bytes of its headers, of those before the transport header, and of its payload. */
  readonly header: number;
  readonly transport: number;
  readonly payload: number;
  readonly v6: boolean;
  readonly udp: boolean;
  /** Sum of the pseudo header. */
  readonly pseudo: number;
}

/** Received datagrams that may go on with a burst, opened in one foreign call by native/burst.c as far as they do. */
export class Burst {
  readonly #slab: Slab;
  readonly #call = new Slab(BURST_WORDS * 4);
  readonly #words = new Uint32Array(this.#call.bytes.buffer);

  /** @param slab that the datagrams are in */
  constructor(slab: Slab) {
    this.#slab = slab;
  }

  /** Datagrams that may join. */
  get count(): number {
    return this.#words[BURST.count] ?? 0;
  }

  /** What became of the datagram behind those that joined. */
  get next(): Opened {
    return this.#words[BURST.next] as Opened;
  }

  /** Bytes of each inner packet that joined. */
  get innerSize(): number {
    return (this.#words[BURST.headers] ?? 0) + (this.#words[BURST.payload] ?? 0);
  }

  setDatagrams({ cipher, at, size, count, spi, sequenceHigh, sequence }: Datagrams): void {
    const words = this.#words;
    words[BURST.cipher] = cipher.low;
    words[BURST.cipher + 1] = cipher.high;
    words[BURST.datagrams] = at;
    words[BURST.size] = size;
    words[BURST.count] = count;
    words[BURST.spi] = spi;
    words[BURST.sequenceHigh] = sequenceHigh;
    words[BURST.sequence] = sequence;
  }

  /** No datagrams. */
  clear(): void {
    this.#words[BURST.next] = OPENED.NOT;
  }

  /**
   * Opens the datagrams in place, up to the first that does not continue the burst.
   * @param index how many packets the burst has
   * @param fixedId whether all have the same IPv4 identifier; each has one greater than the one before else
   * @param tcpSequence TCP sequence number that is next
   * @param iovecs with room for the payloads of `most` packets from `index` on
   * @returns how many joined
   */
  open(
    head: BurstHead,
    index: number,
    fixedId: boolean,
    tcpSequence: number,
    iovecs: Slab,
    iovec: number,
    most: number,
  ): number {
    const words = this.#words;
    words[BURST.count] = Math.min(this.count, most);
    words[BURST.head] = head.packet;
    words[BURST.headers] = head.header;
    words[BURST.transport] = head.transport;
    words[BURST.payload] = head.payload;
    words[BURST.v6] = head.v6 ? 1 : 0;
    words[BURST.udp] = head.udp ? 1 : 0;
    words[BURST.idAhead] = fixedId ? 0 : index;
    words[BURST.idStep] = fixedId ? 0 : 1;
    words[BURST.tcpSequence] = tcpSequence;
    words[BURST.pseudo] = head.pseudo;
    this.#call.setAddress(BURST.iovecs * 4, iovecs, iovec);
    return openBurst(this.#call.base, this.#slab.base);
  }
}
