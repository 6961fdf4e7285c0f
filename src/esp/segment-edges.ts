import type { Slab } from "../sys/slab.js";
import { BATCH_PACKETS, CipherBatch } from "./cipher-batch.js";
import { MAX_TRAILER_SIZE, writeTrailer } from "./packet.js";
import { copyWords, type Segmenter } from "./segmentation.js";

/** Of a segment's headers and, behind them, the first bytes of its payload: the trailer before may lie over those. */
const PLACE_SIZE = 256;
const words = (bytes: number): number => Math.ceil(bytes / 4) * 4;
/** The trailers of a full segment and of the last. */
const FULL = BATCH_PACKETS * PLACE_SIZE;
const LAST = FULL + 32;

/**
 * What stands around the payload of a GSO packet's segments while each is encrypted: headers in front, over the end of
 * the segment before, and a trailer behind, over the payload of the next. They are kept aside, and the batch copies them
 * there, so that it can seal all segments.
 */
export class SegmentEdges {
  /** Bytes that the batch copies, counted since the beginning. */
  copied = 0;
  readonly batch = new CipherBatch(BATCH_PACKETS, LAST + 32);
  readonly #slab: Slab;
  #trailerSize = 0;
  #lastTrailerSize = 0;
  /** Bytes of each payload that are kept. */
  #restored = 0;

  /** @param slab that the packets are in */
  constructor(slab: Slab) {
    this.#slab = slab;
  }

  /** Whether there is room to keep such headers. */
  fits(headers: number): boolean {
    return headers + words(MAX_TRAILER_SIZE) <= PLACE_SIZE;
  }

  /** Takes note of the paddings that full segments and the last need, and of their next header. */
  setTrailers(padding: number, lastPadding: number, nextHeader: number): void {
    const { bytes } = this.batch.edges;
    this.#trailerSize = writeTrailer(bytes, FULL, padding, nextHeader);
    this.#lastTrailerSize = writeTrailer(bytes, LAST, lastPadding, nextHeader);
    this.#restored = words(this.#trailerSize);
  }

  /** Adds the edges of the segment that the batch has last, which starts at `segment`. All payload must be whole yet. */
  add(segmenter: Segmenter, index: number, segment: number): void {
    const { view } = this.batch.edges;
    const { headers } = segmenter;
    const at = index * PLACE_SIZE;
    segmenter.writeHeaders(view, at, index);
    copyWords(view, at + headers, this.#slab.view, segment + headers, this.#restored);
    const last = index === segmenter.segments - 1;
    const trailerSize = last ? this.#lastTrailerSize : this.#trailerSize;
    this.batch.setEdges(segment, at, headers + this.#restored, last ? LAST : FULL, trailerSize);
    this.copied += headers + this.#restored + trailerSize;
  }
}
