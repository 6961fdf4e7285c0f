import type { PacketSlab } from "../sys/packet-slab.js";
import { Burst, OPENED, type Opened } from "./burst.js";
import { BATCH_PACKETS, CipherBatch } from "./cipher-batch.js";
import type { InboundEntry, StatesBySpi, Verdict } from "./database.js";
import { decapsulateEcn, marksCongestion } from "./ecn.js";
import * as framing from "./framing.js";
import * as ip from "./headers.js";
import { RECEIVED, type Received } from "./offload/receive.js";
import * as esp from "./packet.js";
import { type InboundState, MANY_SAS } from "./sa.js";
import { COUNTER, type Counters } from "./statistics.js";

/** RFC 3948 section 2.3. */
const NAT_KEEPALIVE = 0xff;
const NON_ESP_MARKER_SIZE = 4;

/** Bytes that must lie in front of a received packet: the frame's header and an IPv6 header, less SPI and sequence number. */
export const HEADROOM = framing.FRAME_HEADER_SIZE + ip.IPV6_HEADER_SIZE - esp.ESP_IV;
/** What every ESP packet ends with, and is of no use once it is opened: trailer and ICV, the shortest (RFC 2404). */
const SPENT_SIZE = esp.TRAILER_SIZE + 12;

/** Where opened packets go. */
export interface FrameSink {
  /** Takes the framed packet of `size` bytes at `frame`. */
  add(frame: number, size: number): void;
  /**
   * Has the datagrams of a burst opened as far as they are of one burst with the packet last added, and takes them.
   * @returns how many it took
   */
  continueWith(burst: Burst): number;
}

/** After so many datagrams that none continued, those behind in the message are rather opened together. */
const BURST_TRIES = 2;
const LAST_SEQUENCE = 0xffffffff;

/** A packet between what is checked before it is decrypted and what can only be afterwards. */
interface Pending {
  entry: InboundEntry<InboundState> | null;
  sequence: number;
  sequenceHigh: number;
  /** Where the ciphertext starts, and its size. */
  text: number;
  textSize: number;
  received: Received;
  /** What the trailer said, of a packet whose device took it off: next header and payload size. */
  bareHeader: number;
  bareSize: number;
  link: number;
  tos: number;
}

const newPending = (): Pending => ({
  entry: null,
  sequence: 0,
  sequenceHigh: 0,
  text: 0,
  textSize: 0,
  received: RECEIVED.ENCRYPTED,
  bareHeader: 0,
  bareSize: 0,
  link: 0,
  tos: 0,
});

/**
 * Turns received ESP packets into framed packets for the TUN device. Does no I/O. The order of the checks, and what
 * each failure counts as, follow net/xfrm/xfrm_input.c.
 */
export class Inbound {
  /** Where the frame that `process` last returned starts. */
  frame = 0;
  /** The tag of frames of the epoch that the SAs' if_ids are of. */
  tag = framing.tagOf(0);
  /** Of no meaning: what is read ahead has to be used for something. */
  read = 0;
  readonly #found: (InboundEntry<InboundState> | undefined)[] = Array.from({ length: BATCH_PACKETS });
  readonly #slab: PacketSlab;
  readonly #counters: Counters;
  readonly #flush: () => void;
  readonly #batch = new CipherBatch();
  readonly #waiting = Array.from({ length: BATCH_PACKETS }, newPending);
  readonly #alone = newPending();
  readonly #burst: Burst;
  /** The SA of the last packet that waited, null where that was dropped. */
  #added: InboundEntry<InboundState> | null = null;
  /** The SA of the packet before, and by what it was found. Tables are never changed: others take their place. */
  #states: StatesBySpi<InboundState> | null = null;
  #spi = 0;
  #entry: InboundEntry<InboundState> | undefined;

  /**
   * @param flush is called before bytes further in front of a packet are written to than the end of the packet before,
   * if they lie next to each other, leaves unused: frames that were not written yet may be there
   */
  constructor(slab: PacketSlab, counters: Counters, flush: () => void) {
    this.#slab = slab;
    this.#burst = new Burst(slab);
    this.#counters = counters;
    this.#flush = flush;
  }

  /**
   * Opens the UDP payload, or ESP packet, of `length` bytes at `packet` in place. On success the frame (framing.ts)
   * starts at `this.frame`, within HEADROOM bytes before `packet`. Nothing of a packet that fails any check is to be
   * released.
   * @param states the SAs of the address that the packet was sent to, by SPI
   * @param link ifindex on which the packet came in, 0 when unknown
   * @param tos type of service or traffic class that it came with
   * @returns size of the frame, or 0 when dropped
   */
  process(
    packet: number,
    length: number,
    states: StatesBySpi<InboundState>,
    link: number,
    tos: number,
  ): number {
    const pending = this.#alone;
    if (!this.#admit(pending, packet, length, states, link, tos)) return 0;
    const { entry, sequenceHigh, textSize } = pending;
    const opens = pending.received === RECEIVED.ENCRYPTED;
    return this.#complete(
      pending,
      !opens || entry?.state.opener.open(packet, sequenceHigh, textSize) === true,
    );
  }

  /**
   * As `process`, of a message of `bytes` bytes at `message`: datagrams of `size` bytes, the last perhaps shorter. They may
   * wait to be opened together with others: `finish` delivers them, in order.
   */
  takeMessage(
    message: number,
    bytes: number,
    size: number,
    states: StatesBySpi<InboundState>,
    link: number,
    tos: number,
    sink: FrameSink,
  ): void {
    const end = message + bytes;
    if (states.size >= MANY_SAS) this.#readAhead(message, Math.floor(bytes / size), size, states);
    let packet = message;
    let tries = BURST_TRIES;
    let opened: Opened = OPENED.NOT;
    // What waits of other messages is not to be taken for a part of this one.
    if (bytes > size) this.finish(sink);
    // An empty datagram is one as well.
    do {
      const whole = Math.floor((end - packet) / size) - 1;
      const goesOn = tries > 0 && whole > 0 && this.#haveSameSpi(packet, packet + size);
      if (this.#batch.full) this.finish(sink);
      this.take(packet, Math.min(size, end - packet), states, link, tos, opened);
      opened = OPENED.NOT;
      packet += size;
      if (!goesOn) continue;
      this.finish(sink);
      const joined = this.#openBurst(packet, size, whole, tos, sink);
      if (joined === 0) tries--;
      packet += joined * size;
      opened = this.#burst.next;
    } while (packet < end);
  }

  /**
   * Reads what `take` will read of the SAs of the first `count` datagrams: first all of one kind, then what that leads to, so
   * that the processor waits for the memory of all at once.
   */
  #readAhead(message: number, count: number, size: number, states: StatesBySpi<InboundState>): void {
    const { view } = this.#slab;
    const found = this.#found;
    const most = Math.min(count, BATCH_PACKETS);
    let read = 0;
    for (let i = 0; i < most; i++) found[i] = states.get(view.getUint32(message + i * size + esp.ESP_SPI));
    for (let i = 0; i < most; i++) read += found[i]?.state.spi ?? 0;
    for (let i = 0; i < most; i++) {
      const state = found[i]?.state;
      if (state !== undefined)
        read += state.replay.topLow + state.traffic.sequence + (state.opener.cipher ? 1 : 0);
    }
    this.read = read;
  }

  #haveSameSpi(packet: number, next: number): boolean {
    const { view } = this.#slab;
    return view.getUint32(packet + esp.ESP_SPI) === view.getUint32(next + esp.ESP_SPI);
  }

  /**
   * As `process`, of a packet that may wait to be opened together with others: `finish` delivers it, in order. Call that
   * before this once `full`.
   * @param opened what has become of it already
   */
  take(
    packet: number,
    length: number,
    states: StatesBySpi<InboundState>,
    link: number,
    tos: number,
    opened: Opened = OPENED.NOT,
  ): void {
    const batch = this.#batch;
    const pending = this.#waiting[batch.length];
    if (pending === undefined || !this.#admit(pending, packet, length, states, link, tos)) return;
    const { entry, sequenceHigh, textSize, received } = pending;
    const opener = entry?.state.opener;
    if (opened !== OPENED.NOT) batch.addDone(opened === OPENED.AUTHENTIC);
    else if (received === RECEIVED.ENCRYPTED && opener?.queueOpen !== undefined)
      opener.queueOpen(batch, packet, sequenceHigh, textSize);
    else
      batch.addDone(received !== RECEIVED.ENCRYPTED || opener?.open(packet, sequenceHigh, textSize) === true);
  }

  /** Whether no more packets can wait. */
  get full(): boolean {
    return this.#batch.full;
  }

  /** Opens the packets that wait, and gives them to the sink in order. */
  finish(sink: FrameSink): void {
    const batch = this.#batch;
    batch.run(this.#slab);
    this.#added = null;
    for (let i = 0; i < batch.length; i++) {
      const pending = this.#waiting[i];
      const size = pending === undefined ? 0 : this.#complete(pending, batch.worked(i));
      if (size !== 0) sink.add(this.frame, size);
      this.#added = size === 0 ? null : (pending?.entry ?? null);
    }
    batch.clear();
  }

  /**
   * Opens what of the `count` datagrams of `size` bytes at `packet` goes on with the burst of the packet last added. They
   * have its addresses, protocol and ports, so that the same policy takes them, and came with it.
   * @returns how many did; what became of the next is in #burst
   */
  #openBurst(packet: number, size: number, count: number, tos: number, sink: FrameSink): number {
    const burst = this.#burst;
    burst.clear();
    if (this.#added === null) return 0;
    const { state } = this.#added;
    const { spi, opener, replay, traffic } = state;
    const sequence = replay.topLow + 1;
    if (
      opener.cipher === undefined ||
      state.offload !== null ||
      state.addresses !== null ||
      marksCongestion(tos) ||
      replay.topLow > LAST_SEQUENCE - count ||
      !traffic.allows(count, count * size)
    )
      return 0;
    const { cipher } = opener;
    burst.setDatagrams({ cipher, at: packet, size, count, spi, sequenceHigh: replay.topHigh, sequence });
    const joined = sink.continueWith(burst);
    if (joined === 0) return 0;
    replay.acceptNext(joined);
    traffic.add(joined * burst.innerSize, replay.topHigh * 2 ** 32 + replay.topLow, joined);
    this.#counters.add(COUNTER.openedBytes, joined * (size - state.layout.headerSize - state.layout.icvSize));
    return joined;
  }

  /** What can be said before decryption. @returns false when the packet is dropped, and counted */
  #admit(
    pending: Pending,
    packet: number,
    length: number,
    states: StatesBySpi<InboundState>,
    link: number,
    tos: number,
  ): boolean {
    const { view } = this.#slab;
    if (length === 1 && view.getUint8(packet) === NAT_KEEPALIVE) return this.#refuse(COUNTER.keepalives);
    if (length < NON_ESP_MARKER_SIZE) return this.#refuse(COUNTER.XfrmInHdrError);
    const spi = view.getUint32(packet + esp.ESP_SPI);
    if (spi === 0) return this.#refuse(COUNTER.nonEspMarkers);
    if (length < esp.ESP_IV) return this.#refuse(COUNTER.XfrmInHdrError);

    const entry = this.#find(states, spi);
    if (entry === undefined) return this.#refuse(COUNTER.XfrmInNoStates);
    const { state } = entry;
    const { replay } = state;
    const sequence = view.getUint32(packet + esp.ESP_SEQUENCE);
    const sequenceHigh = replay.high(sequence);
    const text = packet + state.layout.headerSize;
    const textSize = length - state.layout.headerSize - state.layout.icvSize;
    const wellFormed = textSize >= esp.TRAILER_SIZE && textSize % state.layout.blockSize === 0;
    let received: Received = RECEIVED.ENCRYPTED;
    if (state.offload !== null && wellFormed) {
      // The device had the packet before the stack has; what it says of it counts before the replay window does.
      received = state.offload.receive(packet, sequenceHigh, text, textSize);
      if (received === RECEIVED.DROP) return false;
    }
    if (!replay.check(sequenceHigh, sequence)) return this.#refuse(COUNTER.XfrmInStateSeqError);
    if (state.traffic.exhausted) return this.#refuse(COUNTER.XfrmInStateExpired);
    if (!wellFormed) return this.#refuse(COUNTER.XfrmInStateProtoError);
    this.#counters.add(COUNTER.openedBytes, textSize);
    pending.entry = entry;
    pending.sequence = sequence;
    pending.sequenceHigh = sequenceHigh;
    pending.text = text;
    pending.textSize = textSize;
    pending.received = received;
    if (received === RECEIVED.BARE) {
      pending.bareHeader = state.offload?.nextHeader ?? esp.IPPROTO_NONE;
      pending.bareSize = state.offload?.size ?? 0;
    }
    pending.link = link;
    pending.tos = tos;
    return true;
  }

  #find(states: StatesBySpi<InboundState>, spi: number) {
    if (spi === this.#spi && states === this.#states) return this.#entry;
    this.#spi = spi;
    this.#states = states;
    this.#entry = states.get(spi);
    return this.#entry;
  }

  /** What can only be said of a decrypted packet. @returns size of the frame, or 0 when it is dropped */
  #complete(pending: Pending, authentic: boolean): number {
    const { view } = this.#slab;
    const { entry, sequence, sequenceHigh, text, textSize, received } = pending;
    if (entry === null) return 0;
    const { replay, traffic } = entry.state;
    // Packets before this one were not accepted yet when it was admitted (net/xfrm/xfrm_replay.c, xfrm_replay_recheck).
    const high = replay.high(sequence);
    if (!replay.check(high, sequence)) return this.#drop(COUNTER.XfrmInStateSeqError);
    if (traffic.exhausted) return this.#drop(COUNTER.XfrmInStateExpired);
    if (!authentic || high !== sequenceHigh) return this.#drop(COUNTER.XfrmInStateProtoError);
    const bare = received === RECEIVED.BARE;
    const nextHeader = bare ? pending.bareHeader : view.getUint8(text + textSize - 1);
    const size = bare ? pending.bareSize : textSize - esp.TRAILER_SIZE - view.getUint8(text + textSize - 2);
    if (size < 0) return this.#drop(COUNTER.XfrmInStateProtoError);

    replay.accept(sequenceHigh, sequence);
    if (nextHeader === esp.IPPROTO_NONE) return this.#drop(COUNTER.dummies);
    // net/ipv4/esp4.c, esp_remove_trailer: padding may not eat the whole payload.
    if (size === 0) return this.#drop(COUNTER.XfrmInStateProtoError);
    traffic.add(size, replay.topHigh * 2 ** 32 + replay.topLow);
    return this.#deliver(entry, text, size, nextHeader, pending.link, pending.tos);
  }

  /** What comes after the transformation. */
  #deliver(
    entry: InboundEntry<InboundState>,
    text: number,
    size: number,
    nextHeader: number,
    link: number,
    tos: number,
  ): number {
    const { view } = this.#slab;
    const { state } = entry;
    let packet = text;
    let packetSize = size;
    if (state.addresses === null) {
      packetSize = innerSize(view, text, size, nextHeader);
      if (packetSize > 0 && !decapsulateEcn(view, text, tos)) return this.#drop(COUNTER.XfrmInHdrError);
      if (framing.FRAME_HEADER_SIZE > state.layout.headerSize + SPENT_SIZE) this.#flush();
    } else {
      packet = this.#rebuild(state, text, size, nextHeader, tos);
      packetSize = packet < 0 ? 0 : text + size - packet;
    }
    if (packetSize === 0) return this.#drop(COUNTER.XfrmInStateModeError);
    const verdict = this.#verdict(entry, packet, packet + packetSize);
    if (verdict === null) return this.#drop(COUNTER.XfrmInNoPols);
    if (verdict === "block") return this.#drop(COUNTER.XfrmInPolBlock);
    if (verdict === "template-mismatch") return this.#drop(COUNTER.XfrmInTmplMismatch);
    this.#writeHeader(packet - framing.FRAME_HEADER_SIZE, state.ifId, link);
    return framing.FRAME_HEADER_SIZE + packetSize;
  }

  /**
   * Writes the IP header that was not sent, in front of the payload of `size` bytes at `text`.
   * @returns where the packet starts, -1 where the payload cannot be one
   */
  #rebuild(state: InboundState, text: number, size: number, nextHeader: number, tos: number): number {
    const { view } = this.#slab;
    const { addresses } = state;
    if (addresses === null) return -1;
    let payload = text;
    let options = 0;
    let protocol = nextHeader;
    if (state.layout.beet && nextHeader === esp.IPPROTO_BEETPH) {
      // net/xfrm/xfrm_input.c, xfrm4_remove_beet_encap
      options = size < 8 || addresses.v6 ? -1 : esp.beetOptionsSize(view, text);
      if (options < 0) return -1;
      protocol = view.getUint8(text);
      payload = text + esp.beetHeaderSize(view, text);
      if (payload + options > text + size) return -1;
    }
    const packet = payload - addresses.headerSize;
    if (text - packet + framing.FRAME_HEADER_SIZE > state.layout.headerSize + SPENT_SIZE) this.#flush();
    addresses.write(this.#slab, packet, text + size - packet, options, protocol, tos);
    return packet;
  }

  /** The first policy that is for the packet decides. @returns null where there is none */
  #verdict(entry: InboundEntry<InboundState>, packet: number, end: number): Verdict | null {
    for (let check = entry.check; check !== null; check = check.next)
      if (check.test === null || check.test.matches(this.#slab.view, packet, end)) return check.verdict;
    return null;
  }

  /** Over the SPI, sequence number and IV, which have served, and what is in front of them. */
  #writeHeader(frame: number, ifId: number, link: number): void {
    const { view } = this.#slab;
    const v6 = view.getUint8(frame + framing.FRAME_HEADER_SIZE) >>> 4 === 6;
    this.frame = frame;
    view.setUint16(frame + framing.PI_FLAGS, 0, true);
    view.setUint16(frame + framing.PI_PROTO, v6 ? framing.ETH_P_IPV6 : framing.ETH_P_IP);
    // All fields of the struct virtio_net_hdr; fill() costs more than the rest of this.
    view.setUint32(frame + framing.VNET_HDR, 0);
    view.setUint32(frame + framing.VNET_HDR + 4, 0);
    view.setUint16(frame + framing.VNET_HDR + 8, 0);
    view.setInt32(frame + framing.SHIM_TAG, this.tag);
    view.setUint32(frame + framing.SHIM_IF_ID, ifId, true);
    view.setInt32(frame + framing.SHIM_LINK, link, true);
  }

  #refuse(counter: number): false {
    this.#counters.count(counter);
    return false;
  }

  #drop(counter: number): 0 {
    this.#counters.count(counter);
    return 0;
  }
}

/**
 * @returns size of the inner packet, which ends where its own header says: behind it there may be padding of the traffic
 * flow confidentiality (RFC 4303 section 2.7); or 0 when tunnel mode cannot hold it: the TC program relies on this
 */
function innerSize(view: DataView, packet: number, size: number, nextHeader: number): number {
  const version = view.getUint8(packet) >>> 4;
  if (nextHeader === esp.IPPROTO_IPIP) {
    if (version !== 4 || size < ip.IPV4_HEADER_SIZE) return 0;
    const total = view.getUint16(packet + ip.IPV4_TOTAL_LENGTH);
    return total < ip.IPV4_HEADER_SIZE || total > size ? size : total;
  }
  if (nextHeader !== esp.IPPROTO_IPV6 || version !== 6 || size < ip.IPV6_HEADER_SIZE) return 0;
  return Math.min(size, ip.IPV6_HEADER_SIZE + view.getUint16(packet + ip.IPV6_PAYLOAD_LENGTH));
}
