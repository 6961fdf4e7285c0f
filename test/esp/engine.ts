/** An outbound and an inbound engine over one Slab, joined back to back. */
import { type AeadBackend, chooseBackend } from "../../src/esp/aead.js";
import { type InboundEntry, inboundTable, outboundTable, type Policy } from "../../src/esp/database.js";
import { HEADROOM, Inbound, type InboundState } from "../../src/esp/inbound.js";
import { Outbound, type OutboundState } from "../../src/esp/outbound.js";
import { ReplayWindow } from "../../src/esp/replay.js";
import { Counters, IO_COUNTERS, Traffic, XFRM_STATS } from "../../src/esp/statistics.js";
import { keymatSize, type SuiteName } from "../../src/esp/suite.js";
import { PacketSlab } from "../../src/sys/packet-slab.js";

const FRAME = 10;
const ESP = 2 ** 17;

export const A = "192.0.2.1";
export const B = "192.0.2.2";
export const SPI = 0x1001;
export const IF_ID = 101;

export interface EngineOptions {
  readonly suite?: SuiteName;
  readonly backend?: AeadBackend;
  readonly ifId?: number;
  readonly replayWindow?: number;
  readonly sequence?: number;
  readonly iv?: readonly [number, number];
  readonly outPolicies?: readonly Policy[];
  readonly inPolicies?: readonly Policy[];
}

export const policyAt = (local: string, remote: string, ifId = IF_ID): Policy => ({ ifId, local, remote });

export class Engine {
  readonly slab = new PacketSlab(2 ** 18);
  readonly counters = new Counters();
  readonly outbound = new Outbound<OutboundState>(this.slab, this.counters, {
    reserve: () => ESP,
    commit: (_state, link, size) => {
      this.sealed.push(Buffer.from(this.slab.bytes.slice(ESP, ESP + size)));
      this.link = link;
    },
  });
  /** ESP packets out of the last frame, and the link that its metadata named. */
  sealed: Buffer[] = [];
  link = 0;
  readonly inbound = new Inbound(this.slab, this.counters);
  readonly out: OutboundState;
  readonly in: InboundState;
  readonly entries: ReadonlyMap<number, InboundEntry<InboundState>>;

  constructor(options: EngineOptions = {}) {
    const {
      suite = "aes128-gcm",
      backend = chooseBackend("auto"),
      ifId = IF_ID,
      replayWindow = 64,
    } = options;
    const [ivHigh, ivLow] = options.iv ?? [0, 0];
    const keymat = new Uint8Array(keymatSize(suite)).map((_, index) => index * 7 + 1);
    this.out = {
      ifId,
      spi: SPI,
      local: A,
      remote: B,
      sealer: backend.sealer(this.slab, suite, keymat),
      traffic: new Traffic(),
      sequence: options.sequence ?? 0,
      ivHigh,
      ivLow,
    };
    this.in = {
      ifId,
      spi: SPI,
      local: B,
      remote: A,
      opener: backend.opener(this.slab, suite, keymat),
      traffic: new Traffic(),
      replay: new ReplayWindow(replayWindow),
    };
    this.outbound.table = outboundTable(options.outPolicies ?? [policyAt(A, B)], [this.out]);
    this.entries = inboundTable(options.inPolicies ?? [policyAt(B, A)], [this.in]).get(B) ?? new Map();
  }

  /** @returns the ESP packet, or null when the frame was dropped */
  seal(frame: Uint8Array): Buffer | null {
    return this.sealAll(frame)[0] ?? null;
  }

  /** @returns the ESP packets: several of a GSO packet */
  sealAll(frame: Uint8Array): Buffer[] {
    this.sealed = [];
    this.slab.bytes.set(frame, FRAME);
    this.outbound.process(FRAME, frame.length);
    return this.sealed;
  }

  /** @returns the frame for the TUN device, or null when the packet was dropped */
  open(packet: Uint8Array, link = 0): Buffer | null {
    this.slab.bytes.set(packet, ESP);
    const size = this.inbound.process(ESP, packet.length, this.entries, link);
    return size === 0 ? null : Buffer.from(this.slab.bytes.slice(ESP - HEADROOM, ESP - HEADROOM + size));
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
