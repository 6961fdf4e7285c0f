import type { PacketSlab } from "../sys/packet-slab.js";
import type { Burst } from "./burst.js";
import { Candidate } from "./candidate.js";
import * as ip from "./headers.js";
import type { FrameSink } from "./inbound.js";
import { Train } from "./train.js";

/** Flows held at a time, as MAX_GRO_SKBS in net/core/gro.c. */
const TRAINS = 8;

/**
 * Takes a framed packet to the TUN device.
 * @param vector address of `count` struct iovec, one for each packet that it was made of
 */
export type FrameWriter = (vector: number, count: number) => void;

/**
 * Generic receive offload: joins consecutive packets of one flow into a GSO packet, within one batch of received
 * packets. A flow's packets leave in the order in which they came.
 */
export class Coalescer implements FrameSink {
  readonly #slab: PacketSlab;
  readonly #write: FrameWriter;
  readonly #mergeUdp: boolean;
  readonly #trains: Train[];
  readonly #single: Train;
  readonly #candidate: Candidate;
  /** That of the packet last added; `#single`, which nothing can join, where it is in none. */
  #latest: Train;
  /** The train to make room with when all are taken: the longest held. */
  #oldest = 0;

  /** @param mergeUdp whether the kernel takes UDP GSO packets from a TUN device: from Linux 6.2 on */
  constructor(slab: PacketSlab, write: FrameWriter, mergeUdp: boolean) {
    this.#slab = slab;
    this.#write = write;
    this.#mergeUdp = mergeUdp;
    this.#trains = Array.from({ length: TRAINS }, () => new Train(slab));
    this.#single = new Train(slab);
    this.#latest = this.#single;
    this.#candidate = new Candidate(slab);
  }

  /** Takes what of a burst continues the train of the packet last added; it must stay where it is until `flush`. */
  continueWith(burst: Burst): number {
    const train = this.#latest;
    const joined = train.continueWith(burst);
    if (train.full) this.#leave(train);
    return joined;
  }

  /** Takes the framed packet of `size` bytes at `frame`, which must stay there until `flush`. */
  add(frame: number, size: number): void {
    const candidate = this.#candidate;
    this.#latest = this.#single;
    const kind = candidate.read(frame, size);
    if (kind === "no-flow") {
      // It may be a fragment of any flow.
      this.flush();
      this.#writeAlone(frame, size);
      return;
    }
    const train = this.#find(candidate);
    const mergeable = kind === "mergeable" && (this.#mergeUdp || !candidate.udp);
    if (train !== null && mergeable && train.accepts(candidate)) {
      this.#latest = train;
      if (train.append(candidate)) this.#leave(train);
      return;
    }
    if (train !== null) this.#leave(train);
    if (!mergeable || this.#endsAtOnce(candidate)) {
      this.#writeAlone(frame, size);
      return;
    }
    this.#latest = train ?? this.#free();
    this.#latest.start(candidate);
  }

  /** Writes everything that is held. Only after that may the packets' memory be used again. */
  flush(): void {
    for (let i = 0; i < TRAINS; i++) {
      const train = this.#trains[(this.#oldest + i) % TRAINS];
      if (train !== undefined && train.count > 0) this.#leave(train);
    }
  }

  #find(candidate: Candidate): Train | null {
    for (const train of this.#trains) {
      if (train.count > 0 && train.head.sameFlow(candidate)) return train;
    }
    return null;
  }

  #free(): Train {
    for (const train of this.#trains) if (train.count === 0) return train;
    const train = this.#trains[this.#oldest] as Train;
    this.#oldest = (this.#oldest + 1) % TRAINS;
    this.#leave(train);
    return train;
  }

  /** A first packet that pushes or ends waits for nothing (tcp_gro_receive, out_check_final). */
  #endsAtOnce({ udp, packet, transport }: Candidate): boolean {
    if (udp) return false;
    const flags = this.#slab.view.getUint8(packet + transport + ip.TCP_FLAGS);
    return (flags & (ip.TCP_PSH | ip.TCP_FIN)) !== 0;
  }

  #leave(train: Train): void {
    train.finish();
    this.#write(train.vector, train.count);
    train.count = 0;
  }

  #writeAlone(frame: number, size: number): void {
    this.#single.hold(frame, size);
    this.#write(this.#single.vector, 1);
  }
}
