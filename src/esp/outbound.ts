import { NumberTable } from "../sys/number-table.js";
import type { PacketSlab } from "../sys/packet-slab.js";
import type { Slab } from "../sys/slab.js";
import type { Sealer } from "./aead.js";
import { BATCH_PACKETS, CipherBatch } from "./cipher-batch.js";
import type { OutboundEntry, OutboundTable } from "./database.js";
import { trafficClass } from "./ecn.js";
import { completeFrame } from "./frame-check.js";
import * as framing from "./framing.js";
import * as ip from "./headers.js";
import * as esp from "./packet.js";
import { RandomBytes } from "./random-bytes.js";
import { MANY_SAS, type OutboundState } from "./sa.js";
import { Segmenter } from "./segmentation.js";
import { COUNTER, type Counters } from "./statistics.js";

/** The last value of either half of a sequence number (RFC 4303 section 3.3.3). */
const LAST_SEQUENCE = 0xffffffff;
const AEAD_IV_SIZE = 8;
/** Room for what is sealed together: BATCH_PACKETS segments of a GSO packet, or any one packet. */
const RUN_BYTES = 2 ** 17;

/** Where ESP packets go. */
export interface EspSink<S> {
  /** Makes room for the next ESP packet. @returns where to seal it to, in the same Slab */
  reserve(size: number): number;
  /**
   * Takes the ESP packet of `size` bytes that was sealed to the place last reserved.
   * @param tos type of service or traffic class of the outer packet
   */
  commit(state: S, link: number, size: number, tos: number): void;
}

/** Whether a packet of `size` bytes at `packet`, out of the frame at `frame`, more than its SA's `longest`, is not to be sent. */
export type Refuses<S> = (state: S, frame: number, packet: number, size: number) => boolean;

/** What the if_ids of an epoch's frames mean. */
export interface EpochTable<S extends OutboundState> {
  /** tagOf its epoch. */
  readonly tag: number;
  readonly table: OutboundTable<S>;
}

/** A packet that is sealed, or waits for it. */
interface Waiting<S> {
  state: S | null;
  link: number;
  total: number;
  tos: number;
}

/** Turns packets read from the TUN device into ESP packets: a GSO packet into one for each segment. Does no I/O. */
export class Outbound<S extends OutboundState> {
  /** Replace it to change every SA and policy between two packets. */
  table: OutboundTable<S> = new NumberTable();
  /** The tag of the frames that `table` is for. */
  tag = framing.tagOf(0);
  /** For frames of the epoch before, which wait in the queue yet. */
  previous: EpochTable<S> | null = null;

  /** Of no meaning: what is read ahead has to be used for something. */
  read = 0;
  readonly #found: (S | null | undefined)[] = Array.from({ length: BATCH_PACKETS });
  readonly #slab: PacketSlab;
  readonly #counters: Counters;
  readonly #sink: EspSink<S>;
  readonly #refuses: Refuses<S>;
  readonly #segmenter: Segmenter;
  readonly #ivs = new RandomBytes();
  /** What of the packet in hand is encrypted: where it starts, and what it is. Set by #wrap. */
  #payload = 0;
  #nextHeader = 0;
  /** What encrypts it: of an offloaded SA the device may. */
  #sealer: Sealer | null = null;
  /** Null where each packet is to be sealed at once. */
  readonly #batch: CipherBatch | null;
  readonly #waiting = Array.from(
    { length: BATCH_PACKETS },
    (): Waiting<S> => ({
      state: null,
      link: 0,
      total: 0,
      tos: 0,
    }),
  );
  /** Where the next packet that waits is sealed to, and the end of the room for such. */
  #next = 0;
  #end = 0;

  /** @param waits whether packets may wait in their frames for others, to be sealed together by `finish` at the latest */
  constructor(
    slab: PacketSlab,
    counters: Counters,
    sink: EspSink<S>,
    waits = false,
    refuses: Refuses<S> = () => false,
  ) {
    this.#slab = slab;
    this.#counters = counters;
    this.#sink = sink;
    this.#refuses = refuses;
    this.#segmenter = new Segmenter(slab);
    this.#batch = waits ? new CipherBatch() : null;
  }

  /**
   * Reads what `process` will read of the SAs of `count` frames, each `distance` bytes behind the one before: first all of one
   * kind, then what that leads to, so that the processor waits for the memory of all at once.
   */
  readAhead(frames: number, distance: number, count: number): void {
    if (this.table.size < MANY_SAS) return;
    const { view } = this.#slab;
    const found = this.#found;
    const most = Math.min(count, BATCH_PACKETS);
    let read = 0;
    for (let i = 0; i < most; i++)
      found[i] = this.table.get(view.getUint32(frames + i * distance + framing.SHIM_IF_ID, true))?.state;
    for (let i = 0; i < most; i++) {
      const state = found[i];
      if (state) read += state.sequence + state.traffic.sequence + (state.sealer.cipher ? 1 : 0);
    }
    this.read = read;
  }

  /**
   * Seals the framed packet of `length` bytes (framing.ts) at `frame` into the sink. The frame is used up, and
   * MAX_TRAILER_SIZE bytes behind it must be there. Of a padded SA as many as it pads to must be there besides; those
   * behind a GSO packet are as before afterwards. What cannot be sealed is counted and dropped.
   */
  process(frame: number, length: number): void {
    const { view } = this.#slab;
    const tag = view.getInt32(frame + framing.SHIM_TAG);
    const table = tag === this.tag ? this.table : this.#tableOf(tag, length);
    if (table === null) return;
    if (!completeFrame(this.#slab, frame, length)) {
      this.#counters.count(COUNTER.XfrmOutError);
      return;
    }
    const packet = frame + framing.FRAME_HEADER_SIZE;
    const state = this.#find(table, view.getUint32(frame + framing.SHIM_IF_ID, true), packet, frame + length);
    if (state === null) return;
    const link = view.getInt32(frame + framing.SHIM_LINK, true);
    const size = length - framing.FRAME_HEADER_SIZE;
    if (view.getUint8(frame + framing.VNET_GSO_TYPE) === framing.VIRTIO_NET_HDR_GSO_NONE) {
      if (size <= state.longest || !this.#tooLong(state, frame, packet, size))
        this.#transform(state, link, packet, size, false, true);
      return;
    }
    const segmenter = this.#segmenter;
    if (!segmenter.start(frame, length)) {
      this.#counters.count(COUNTER.XfrmOutError);
      return;
    }
    // The first segment has its headers again for the answer, which quotes it.
    if (
      segmenter.headers + segmenter.segmentSize > state.longest &&
      this.#tooLong(state, frame, segmenter.write(0), segmenter.size)
    )
      return;
    const { segments } = segmenter;
    state.offload?.startBurst(state.sequence, segments);
    const before = segmenter.copied;
    if (!this.#sealTogether(state, link, packet, size)) {
      // The last segment, late in the frame's place, may be padded into the next frame.
      const padded = state.padTo > 0;
      for (let i = 0; i < segments; i++)
        this.#transform(state, link, segmenter.write(i), segmenter.size, padded || i < segments - 1);
    }
    this.#counters.add(COUNTER.copiedBytes, segmenter.copied - before);
  }

  /** Asks about a packet that may not fit the path. @returns whether it is dropped */
  #tooLong(state: S, frame: number, packet: number, size: number): boolean {
    const refused = this.#refuses(state, frame, packet, size);
    if (refused) this.#counters.count(COUNTER.XfrmOutStateModeError);
    return refused;
  }

  /** Seals the packets that wait, and gives them to the sink. */
  finish(): void {
    const batch = this.#batch;
    if (batch === null || batch.length === 0) return;
    batch.run(this.#slab);
    let count = 0;
    while (count < batch.length && batch.worked(count)) count++;
    const failed = batch.length - count;
    batch.clear();
    this.#commit(count, failed);
  }

  /** Takes the first `count` packets that waited to the sink. What lies behind one that failed is in the wrong place. */
  #commit(count: number, failed: number): void {
    this.#counters.add(COUNTER.XfrmOutStateProtoError, failed);
    for (let i = 0; i < count; i++) {
      const waiting = this.#waiting[i];
      if (waiting?.state) this.#sink.commit(waiting.state, waiting.link, waiting.total, waiting.tos);
    }
  }

  /**
   * Seals all segments of the GSO packet in hand in one run.
   * @returns false for a packet that is not of the usual kind: it is to be sealed segment by segment
   */
  #sealTogether(state: S, link: number, packet: number, size: number): boolean {
    const { segments, headers } = this.#segmenter;
    const { cipher } = state.sealer;
    if (
      this.#batch === null ||
      cipher === undefined ||
      state.offload !== null ||
      state.padTo > 0 ||
      state.layout.beet ||
      segments > BATCH_PACKETS ||
      state.sequence > LAST_SEQUENCE - segments ||
      !state.traffic.allows(segments, size + segments * headers)
    )
      return false;
    this.finish();
    if (!this.#findPayload(state, packet, size)) return false;
    this.#sealSegments(state, cipher, link, packet);
    return true;
  }

  /** Each segment is sealed behind the one before. */
  #sealSegments(state: S, cipher: Slab, link: number, packet: number): void {
    const segmenter = this.#segmenter;
    const { segments } = segmenter;
    const { alignment } = state.layout;
    const tos = trafficClass(this.#slab.view, packet);
    const skipped = this.#payload - packet;
    const sequence = state.sequence + 1;
    const sealed = segmenter.seal({
      cipher,
      target: this.#sink.reserve(RUN_BYTES),
      spi: state.spi,
      sequenceHigh: state.sequenceHigh,
      sequence,
      ivHigh: ivHigh(state, sequence),
      ivLow: state.ivLow + sequence,
      skipped,
      nextHeader: this.#nextHeader,
      alignment,
    });
    // The numbers are used up even if sealing fails: an IV must never meet two texts.
    state.sequence += segments;
    const length = segmenter.sizeOf(0) - skipped;
    const lastLength = segmenter.sizeOf(segments - 1) - skipped;
    const text = length + esp.paddingFor(length, alignment) + esp.TRAILER_SIZE;
    const lastText = lastLength + esp.paddingFor(lastLength, alignment) + esp.TRAILER_SIZE;
    const bytes = (segments - 1) * length + lastLength;
    state.traffic.add(bytes, state.sequenceHigh * 2 ** 32 + state.sequence, segments);
    this.#counters.add(COUNTER.sealedBytes, (segments - 1) * text + lastText);
    if (!sealed) {
      this.#counters.add(COUNTER.XfrmOutStateProtoError, segments);
      return;
    }
    const around = state.layout.headerSize + state.layout.icvSize;
    for (let i = 1; i < segments; i++) this.#sink.commit(state, link, around + text, tos);
    this.#sink.commit(state, link, around + lastText, tos);
  }

  #remember(index: number, state: S, link: number, total: number, tos: number): void {
    const waiting = this.#waiting[index];
    if (waiting === undefined) return;
    waiting.state = state;
    waiting.link = link;
    waiting.total = total;
    waiting.tos = tos;
  }

  /**
   * Sends a packet that the other end throws away (RFC 4303 section 2.6), of `size` bytes of any content behind the
   * address `packet`, which is used up as a frame is.
   */
  sendDummy(state: S, link: number, packet: number, size: number): void {
    this.#slab.bytes.fill(0, packet, packet + size);
    this.#payload = packet;
    this.#nextHeader = esp.IPPROTO_NONE;
    this.#sealer = state.sealer;
    this.#seal(state, link, size, 0, 0);
  }

  /** For a frame that is not of the epoch in force. @returns null where it is not to be sent; that is counted then */
  #tableOf(tag: number, length: number): OutboundTable<S> | null {
    if (this.previous !== null && tag === this.previous.tag) return this.previous.table;
    if (length < framing.FRAME_HEADER_SIZE) this.#counters.count(COUNTER.XfrmOutError);
    else this.#counters.count(framing.isTag(tag) ? COUNTER.txOtherEpoch : COUNTER.txNoShim);
    return null;
  }

  /** SPD, then SAD. @returns null where the packet is not to be sent; that is counted then */
  #find(table: OutboundTable<S>, ifId: number, packet: number, end: number): S | null {
    const entry = this.#policy(table.get(ifId), packet, end);
    if (entry === null) {
      this.#counters.count(COUNTER.txCarrierErrors);
      return null;
    }
    if (entry.blocks) {
      this.#counters.count(COUNTER.XfrmOutPolBlock);
      return null;
    }
    const { state } = entry;
    if (state !== null && (state.addresses?.matches(this.#slab.view, packet, end - packet) ?? true))
      return state;
    // The kernel counts this twice as well: in xfrm_lookup_with_ifid and on the xfrm device.
    this.#counters.count(COUNTER.txCarrierErrors);
    this.#counters.count(COUNTER.XfrmOutNoStates);
    return null;
  }

  #policy(first: OutboundEntry<S> | undefined, packet: number, end: number): OutboundEntry<S> | null {
    for (let entry = first ?? null; entry !== null; entry = entry.next)
      if (entry.test === null || entry.test.matches(this.#slab.view, packet, end)) return entry;
    return null;
  }

  /**
   * @param behind whether the bytes behind the packet are still needed
   * @param alone whether it is no segment of a GSO packet
   */
  #transform(state: S, link: number, packet: number, size: number, behind: boolean, alone = false): void {
    const { view, bytes } = this.#slab;
    this.#sealer = state.offload === null ? state.sealer : state.offload.sealerFor(packet);
    if (this.#sealer === null) return;
    const tos = trafficClass(view, packet);
    if (!this.#findPayload(state, packet, size)) {
      this.#counters.count(COUNTER.XfrmOutStateModeError);
      return;
    }
    const end = packet + size;
    const padded = state.padTo > size ? state.padTo - size : 0;
    if (!behind) {
      if (padded > 0) bytes.fill(0, end, end + padded);
      this.#seal(state, link, end - this.#payload, padded, tos, state.offload === null && alone);
      return;
    }
    // Padding and trailer go over the next segment's payload or the next frame, which is put back afterwards.
    if (padded > 0) {
      const kept = bytes.slice(end, end + padded + esp.MAX_TRAILER_SIZE);
      bytes.fill(0, end, end + padded);
      this.#seal(state, link, end - this.#payload, padded, tos);
      bytes.set(kept, end);
      this.#counters.add(COUNTER.copiedBytes, kept.length);
      return;
    }
    const a = view.getUint32(end);
    const b = view.getUint32(end + 4);
    const c = view.getUint32(end + 8);
    const d = view.getUint32(end + 12);
    const e = view.getUint8(end + 16);
    this.#seal(state, link, end - this.#payload, 0, tos);
    view.setUint32(end, a);
    view.setUint32(end + 4, b);
    view.setUint32(end + 8, c);
    view.setUint32(end + 12, d);
    view.setUint8(end + 16, e);
  }

  /** Sets #payload and #nextHeader to what of an IP packet is encrypted. @returns false where it cannot be */
  #findPayload(state: S, packet: number, size: number): boolean {
    const v6 = this.#slab.view.getUint8(packet) >>> 4 === 6;
    if (state.addresses !== null)
      return v6 ? this.#withoutHeader6(packet, size) : this.#withoutHeader4(packet, size, state.layout.beet);
    this.#payload = packet;
    this.#nextHeader = v6 ? esp.IPPROTO_IPV6 : esp.IPPROTO_IPIP;
    return true;
  }

  /**
   * Seals `size` bytes at #payload, and `padded` bytes behind them that are in place.
   * @param mayWait whether what is to be encrypted stays there until `finish`
   */
  #seal(state: S, link: number, size: number, padded: number, tos: number, mayWait = false): void {
    const { traffic } = state;
    if (traffic.exhausted) {
      this.#counters.count(COUNTER.XfrmOutStateExpired);
      return;
    }
    if (state.sequence === LAST_SEQUENCE && !this.#carrySequence(state)) {
      this.#counters.count(COUNTER.XfrmOutStateSeqError);
      return;
    }
    const source = this.#payload;
    const length = size + padded;
    const padding = esp.paddingFor(length, state.layout.alignment);
    const total = state.layout.headerSize + length + padding + esp.TRAILER_SIZE + state.layout.icvSize;
    const sealer = this.#sealer;
    const batch = mayWait && sealer?.queue !== undefined ? this.#batch : null;
    if (batch === null || batch.full || this.#next + total > this.#end) this.finish();
    const target = batch === null ? this.#sink.reserve(total) : this.#place(batch, total);
    // The number is used up even if sealing fails: an IV must never meet two texts.
    state.sequence++;
    const text = length + esp.writeTrailer(this.#slab.bytes, source + length, padding, this.#nextHeader);
    this.#writeHeader(state, target, state.sequence);
    if (batch !== null) {
      this.#remember(batch.length, state, link, total, tos);
      sealer?.queue?.(batch, target, state.sequenceHigh, source, text);
    } else if (!sealer?.seal(target, state.sequenceHigh, source, text)) {
      this.#counters.count(COUNTER.XfrmOutStateProtoError);
      return;
    }
    traffic.add(size, state.sequenceHigh * 2 ** 32 + state.sequence);
    this.#counters.add(COUNTER.sealedBytes, text);
    if (batch === null) this.#sink.commit(state, link, total, tos);
  }

  /** @returns where the next packet that waits is sealed to: behind the one before, as the sink will find it */
  #place(batch: CipherBatch, total: number): number {
    if (batch.length === 0) {
      this.#next = this.#sink.reserve(RUN_BYTES);
      this.#end = this.#next + RUN_BYTES;
    }
    const place = this.#next;
    this.#next += total;
    return place;
  }

  /** Writes SPI, sequence number and IV to `target`. */
  #writeHeader(state: S, target: number, sequence: number): void {
    const { view, bytes } = this.#slab;
    view.setUint32(target + esp.ESP_SPI, state.spi);
    view.setUint32(target + esp.ESP_SEQUENCE, sequence);
    if (state.layout.ivSize === AEAD_IV_SIZE) {
      view.setUint32(target + esp.ESP_IV, ivHigh(state, sequence));
      view.setUint32(target + esp.ESP_IV + 4, state.ivLow + sequence);
    } else if (state.layout.ivSize > 0) {
      // That of CBC must not be predictable (RFC 3602 section 3).
      this.#ivs.write(bytes, target + esp.ESP_IV, state.layout.ivSize);
    }
  }

  /** @returns false after the SA's last number: it stops rather than begin again (RFC 4303 section 3.3.3) */
  #carrySequence(state: S): boolean {
    if (!state.esn || state.sequenceHigh === LAST_SEQUENCE) return false;
    state.sequenceHigh++;
    state.offload?.advanceEsn(state.sequenceHigh);
    // The next one is 0, which only the number 0 itself may not be.
    state.sequence = -1;
    return true;
  }

  /**
   * Leaves out the IPv4 header; BEET carries its options in a header of their own (draft-nikander-esp-beet-mode section
   * 5.4; net/xfrm/xfrm_output.c, xfrm4_beet_encap_add), which is written over the end of the IPv4 header.
   * @returns false for what cannot be rebuilt at the other end
   */
  #withoutHeader4(packet: number, size: number, beet: boolean): boolean {
    const { view } = this.#slab;
    const header = (view.getUint8(packet) & 15) * 4;
    const protocol = view.getUint8(packet + ip.IPV4_PROTOCOL);
    const options = header - ip.IPV4_HEADER_SIZE;
    if (options < 0 || header > size) return false;
    if ((view.getUint16(packet + ip.IPV4_FRAGMENT) & ip.IPV4_IS_FRAGMENT) !== 0) return false;
    this.#payload = packet + header;
    this.#nextHeader = protocol;
    if (options === 0) return true;
    if (!beet) return false;
    this.#payload = esp.writeBeetHeader(view, packet + ip.IPV4_HEADER_SIZE, options, protocol);
    this.#nextHeader = esp.IPPROTO_BEETPH;
    return true;
  }

  /** Leaves out the IPv6 header. Extension headers that come before ESP would have to go outside (RFC 4303 section 3.1.1). */
  #withoutHeader6(packet: number, size: number): boolean {
    const next = this.#slab.view.getUint8(packet + ip.IPV6_NEXT_HEADER);
    if (size < ip.IPV6_HEADER_SIZE || ip.OUTSIDE_ESP.has(next)) return false;
    this.#payload = packet + ip.IPV6_HEADER_SIZE;
    this.#nextHeader = next;
    return true;
  }
}

/** The upper half of the IV of the packet with this sequence number: the SA's first IV plus the number, in 64 bits. */
function ivHigh(state: OutboundState, sequence: number): number {
  return state.ivHigh + state.sequenceHigh + (state.ivLow + sequence > 0xffffffff ? 1 : 0);
}
