/** An outbound and an inbound engine over one Slab, joined back to back. */
import { type AeadBackend, chooseBackend } from "../../src/esp/aead.js";
import { inboundTable, outboundTable, type Policy, type StatesBySpi } from "../../src/esp/database.js";
import { Inbound } from "../../src/esp/inbound.js";
import { Outbound } from "../../src/esp/outbound.js";
import type { Mode } from "../../src/esp/packet.js";
import { type InboundState, makeInbound, makeOutbound, type OutboundState } from "../../src/esp/sa.js";
import { ANY_SELECTOR } from "../../src/esp/selector.js";
import { Counters, IO_COUNTERS, XFRM_STATS } from "../../src/esp/statistics.js";
import { keymatSize, type SuiteName } from "../../src/esp/suite.js";
import { type HardLimits, Traffic } from "../../src/esp/traffic.js";
import { NumberTable } from "../../src/sys/number-table.js";
import { PacketSlab } from "../../src/sys/packet-slab.js";

const FRAME = 6;
const PLACE_SIZE = 2 ** 16 + 128;
const PLACES = 64;
const ESP = (PLACES + 1) * PLACE_SIZE;
/** Twice what is sealed together at most. */
const ESP_SIZE = 2 ** 18;

export const A = "192.0.2.1";
export const B = "192.0.2.2";
export const SPI = 0x1001;
export const IF_ID = 101;

/** The key of both ends. */
export const keymatOf = (suite: SuiteName): Uint8Array =>
  new Uint8Array(keymatSize(suite)).map((_, index) => index * 7 + 1);

export interface EngineOptions {
  readonly suite?: SuiteName;
  readonly backend?: AeadBackend;
  readonly mode?: Mode;
  readonly esn?: boolean;
  /** Outer addresses: of the one end, and of the other. */
  readonly outer?: readonly [string, string];
  readonly inner?: { readonly local: string; readonly remote: string };
  readonly padTo?: number;
  readonly limits?: HardLimits;
  readonly ifId?: number;
  readonly replayWindow?: number;
  /** Whether packets are sealed and opened together, as the data path does; true if left out. */
  readonly waits?: boolean;
  /** Numbers of the last packet before the first one: of both ends. */
  readonly sequenceHigh?: number;
  readonly sequence?: number;
  readonly iv?: readonly [number, number];
  readonly outPolicies?: readonly Policy[];
  readonly inPolicies?: readonly Policy[];
}

/** A policy for all packets. */
export const policyAt = (
  direction: "in" | "out",
  local: string,
  remote: string,
  ifId = IF_ID,
  mode: Mode = "tunnel",
): Policy => ({ ifId, direction, selector: ANY_SELECTOR, priority: 0, template: { mode, local, remote } });

export class Engine {
  readonly slab = new PacketSlab(ESP + ESP_SIZE);
  readonly counters = new Counters();
  readonly outbound: Outbound<OutboundState>;
  /** ESP packets out of the last frame, the link that its metadata named, and the last one's outer traffic class. */
  sealed: Buffer[] = [];
  link = 0;
  tos = 0;
  readonly inbound = new Inbound(this.slab, this.counters, () => {});
  readonly out: OutboundState;
  readonly in: InboundState;
  readonly entries: StatesBySpi<InboundState>;
  readonly #waits: boolean;
  /** Where the next ESP packet goes. */
  #next = ESP;

  constructor(options: EngineOptions = {}) {
    this.#waits = options.waits ?? true;
    const sink = {
      reserve: (size: number) => {
        if (this.#next + size > ESP + ESP_SIZE) this.#next = ESP;
        return this.#next;
      },
      commit: (_state: OutboundState, link: number, size: number, tos: number) => {
        this.sealed.push(Buffer.from(this.slab.bytes.slice(this.#next, this.#next + size)));
        this.#next += size;
        this.link = link;
        this.tos = tos;
      },
    };
    this.outbound = new Outbound<OutboundState>(this.slab, this.counters, sink, this.#waits);
    const {
      suite = "aes128-gcm",
      backend = chooseBackend("auto"),
      ifId = IF_ID,
      mode = "tunnel",
      esn = false,
      replayWindow = 64,
      padTo = 0,
      limits,
    } = options;
    const [left, right] = options.outer ?? [A, B];
    const { inner = null } = options;
    const keymat = keymatOf(suite);
    const shared = { ifId, spi: SPI, mode, suite, esn };
    this.out = {
      ...makeOutbound(
        this.slab,
        backend,
        { ...shared, local: left, remote: right, inner, padTo },
        keymat,
        new Traffic(undefined, limits),
      ),
      sequence: options.sequence ?? 0,
      sequenceHigh: options.sequenceHigh ?? 0,
      ...(options.iv ? { ivHigh: options.iv[0], ivLow: options.iv[1] } : {}),
    };
    const swapped = inner && { local: inner.remote, remote: inner.local };
    this.in = makeInbound(
      this.slab,
      backend,
      { ...shared, local: right, remote: left, inner: swapped, replayWindow },
      keymat,
      new Traffic(undefined, limits),
    );
    if (options.sequenceHigh) this.in.replay.accept(options.sequenceHigh, options.sequence ?? 0);
    this.outbound.table = outboundTable(options.outPolicies ?? [policyAt("out", left, right, IF_ID, mode)], [
      this.out,
    ]);
    this.entries =
      inboundTable(options.inPolicies ?? [policyAt("in", right, left, IF_ID, mode)], [this.in]).get(right) ??
      new NumberTable();
  }

  /** @returns the ESP packet, or null when the frame was dropped */
  seal(frame: Uint8Array): Buffer | null {
    return this.sealAll(frame)[0] ?? null;
  }

  /** @returns the ESP packets of up to 64 frames: several of a GSO packet */
  sealAll(...frames: Uint8Array[]): Buffer[] {
    this.sealed = [];
    const place = (index: number): number => index * PLACE_SIZE + FRAME;
    // All are read before the first is processed, as the data path does.
    for (const [index, frame] of frames.entries()) this.slab.bytes.set(frame, place(index));
    for (const [index, frame] of frames.entries()) this.outbound.process(place(index), frame.length);
    this.outbound.finish();
    return this.sealed;
  }

  /** @returns the frame for the TUN device, or null when the packet was dropped */
  open(packet: Uint8Array, link = 0, tos = 0): Buffer | null {
    if (this.#waits) return this.openAll([packet], link, tos)[0] ?? null;
    this.slab.bytes.set(packet, ESP);
    const size = this.inbound.process(ESP, packet.length, this.entries, link, tos);
    const { frame } = this.inbound;
    return size === 0 ? null : Buffer.from(this.slab.bytes.slice(frame, frame + size));
  }

  /** Opens packets together. @returns the frames of those that are not dropped */
  openAll(packets: readonly Uint8Array[], link = 0, tos = 0): Buffer[] {
    const frames: Buffer[] = [];
    const sink = {
      continueWith: () => 0,
      add: (frame: number, size: number) => {
        frames.push(Buffer.from(this.slab.bytes.slice(frame, frame + size)));
      },
    };
    packets.forEach((packet, index) => {
      if (index % PLACES === 0) this.inbound.finish(sink);
      // Another place for each that may wait, with room for the headers that are written in front.
      const place = (index % PLACES) * PLACE_SIZE + 128;
      this.slab.bytes.set(packet, place);
      this.inbound.take(place, packet.length, this.entries, link, tos);
    });
    this.inbound.finish(sink);
    return frames;
  }

  /** The counters that are not 0. */
  counted(): Record<string, number> {
    const names = [...XFRM_STATS, ...IO_COUNTERS];
    return Object.fromEntries(
      names.map((name) => [name, this.counters.get(name)]).filter(([, value]) => value !== 0),
    );
  }

  close(): void {
    this.out.sealer.close();
    this.in.opener.close();
  }
}
