import { MAX_TRAILER_SIZE } from "./packet.js";
import { copyWords, MAX_HEADERS } from "./segmentation.js";

/** In words of 4 bytes. */
const TRAILER = Math.ceil(MAX_TRAILER_SIZE / 4) * 4;
const PLACE_SIZE = MAX_HEADERS + TRAILER;

/**
 * Keeps what the headers and the trailers of every other segment of a GSO packet are written over: the end and the
 * beginning of its neighbours' payload.
 */
export class Overlay {
  /** Bytes kept and put back so far. */
  copied = 0;
  readonly #view: DataView;
  readonly #kept: DataView;
  /** Bytes in it. */
  #used = 0;
  #count = 0;
  /** Where each was, and its size. */
  readonly #from: Int32Array;
  readonly #size: Int32Array;

  /** @param view of the packets; `segments` of one GSO packet at most */
  constructor(view: DataView, segments: number) {
    this.#view = view;
    this.#kept = new DataView(new ArrayBuffer((segments / 2) * PLACE_SIZE));
    this.#from = new Int32Array(segments);
    this.#size = new Int32Array(segments);
  }

  /** Whether only neighbours are written over, and none of their bytes twice. */
  fits(headers: number, segmentSize: number): boolean {
    return headers + TRAILER <= segmentSize;
  }

  /** Keeps what segment `index` of the GSO packet at `packet` will be written over, before it is. */
  keep(index: number, segments: number, packet: number, headers: number, segmentSize: number): void {
    const segment = packet + index * segmentSize;
    if (index > 0) this.#add(segment, headers);
    if (index < segments - 1) this.#add(segment + headers + segmentSize, TRAILER);
  }

  putBack(): void {
    for (let i = 0, at = 0; i < this.#count; i++) {
      const size = this.#size[i] ?? 0;
      copyWords(this.#view, this.#from[i] ?? 0, this.#kept, at, size);
      at += size;
    }
    this.#count = 0;
    this.#used = 0;
  }

  #add(from: number, size: number): void {
    copyWords(this.#kept, this.#used, this.#view, from, size);
    this.#from[this.#count] = from;
    this.#size[this.#count++] = size;
    this.#used += size;
    this.copied += size;
  }
}
