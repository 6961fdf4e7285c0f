/** The ESP engine in loop-back: small packets are sealed, and opened a little later; rekeys all the while. */
import { randomBytes } from "node:crypto";
import { chooseBackend } from "../esp/aead.js";
import { inboundTable, outboundTable, type Policy } from "../esp/database.js";
import * as framing from "../esp/framing.js";
import { IPV4_HEADER_SIZE } from "../esp/headers.js";
import { Inbound } from "../esp/inbound.js";
import { Outbound } from "../esp/outbound.js";
import { type InboundState, makeInbound, makeOutbound, type OutboundState } from "../esp/sa.js";
import { ANY_SELECTOR } from "../esp/selector.js";
import { Counters, XFRM_STATS } from "../esp/statistics.js";
import { keymatSize, type SuiteName } from "../esp/suite.js";
import { Traffic } from "../esp/traffic.js";
import { PacketSlab } from "../sys/packet-slab.js";

export interface SoakOptions {
  readonly suite: SuiteName;
  readonly crypto: "auto" | "openssl";
  /** Sealing a packet is one, opening it another. */
  readonly operations: number;
  /** Ends sooner when the time is over. */
  readonly maxSeconds: number;
  /** Packets between two rekeys. */
  readonly rekeyEvery: number;
  readonly progress?: (what: string) => void;
}

export interface SoakResult {
  readonly suite: SuiteName;
  readonly crypto: string;
  readonly operations: number;
  readonly seconds: number;
  readonly rekeys: number;
  /** Packets sealed and not delivered whole. */
  readonly lost: number;
  /** Bytes of memory, resident, half way and at the end. */
  readonly residentEarly: number;
  readonly residentLate: number;
  readonly errors: Readonly<Record<string, number>>;
}

const [LEFT, RIGHT] = ["192.0.2.1", "192.0.2.2"];
const IF_ID = 1;
const PACKET_SIZE = 64;
const FRAME = 6;
/** Packets under way: at a rekey they are of the SA before. */
const UNDER_WAY = 64;
const ESP = 2 ** 16;
/** One ESP packet, and what Inbound may write in front of it. */
const PLACE_SIZE = 512;
/** Between two looks at the clock. */
const CHUNK = 10_000;

const policy = (direction: "in" | "out", local: string, remote: string): Policy => ({
  ifId: IF_ID,
  direction,
  selector: ANY_SELECTOR,
  priority: 0,
  template: { mode: "tunnel", local, remote },
});

/** Two ends of one connection, over one Slab. */
class LoopBack {
  readonly counters = new Counters();
  delivered = 0;
  readonly #slab = new PacketSlab(ESP + (UNDER_WAY + 1) * PLACE_SIZE);
  readonly #backend;
  readonly #suite: SuiteName;
  readonly #inbound = new Inbound(this.#slab, this.counters, () => {});
  readonly #outbound = new Outbound<OutboundState>(this.#slab, this.counters, {
    reserve: () => ESP + this.#turn * PLACE_SIZE,
    commit: (_state, _link, size) => {
      this.#sizes[this.#turn] = size;
      this.#turn = (this.#turn + 1) % UNDER_WAY;
      this.#arrive();
    },
  });
  readonly #frame: Uint8Array;
  /** A place's size is 0 when nothing is under way there; its turn comes when the others have had theirs. */
  readonly #sizes = new Uint16Array(UNDER_WAY);
  #turn = 0;
  #spi = 0x1000;
  #out: OutboundState | null = null;
  /** The newest first; the one before stays valid until the next rekey. */
  #in: InboundState[] = [];
  #entries = inboundTable<InboundState>([], []).get(RIGHT);

  constructor(suite: SuiteName, crypto: SoakOptions["crypto"]) {
    this.#suite = suite;
    this.#backend = chooseBackend(crypto);
    this.#frame = ipv4Frame();
    this.rekey();
  }

  get crypto(): string {
    return this.#backend.name;
  }

  /** Adds the new inbound SA, switches the outbound one, and removes the inbound one before the last. */
  rekey(): void {
    const keymat = randomBytes(keymatSize(this.#suite));
    const shared = {
      ifId: IF_ID,
      spi: this.#spi++,
      mode: "tunnel",
      suite: this.#suite,
      esn: true,
      inner: null,
    } as const;
    const inParameters = { ...shared, local: RIGHT, remote: LEFT, replayWindow: 1024 };
    this.#in.unshift(makeInbound(this.#slab, this.#backend, inParameters, keymat, new Traffic()));
    for (const old of this.#in.splice(2)) old.opener.close();
    this.#entries = inboundTable([policy("in", RIGHT, LEFT)], this.#in).get(RIGHT);
    const before = this.#out;
    const outParameters = { ...shared, local: LEFT, remote: RIGHT, padTo: 0 };
    this.#out = makeOutbound(this.#slab, this.#backend, outParameters, keymat, new Traffic());
    this.#outbound.table = outboundTable([policy("out", LEFT, RIGHT)], [this.#out]);
    before?.sealer.close();
  }

  send(): void {
    this.#slab.bytes.set(this.#frame, FRAME);
    this.#outbound.process(FRAME, this.#frame.length);
  }

  /** Opens all that is under way. */
  finish(): void {
    for (let i = 0; i < UNDER_WAY; i++) {
      this.#arrive();
      this.#turn = (this.#turn + 1) % UNDER_WAY;
    }
  }

  close(): void {
    this.#out?.sealer.close();
    for (const { opener } of this.#in) opener.close();
  }

  #arrive(): void {
    const size = this.#sizes[this.#turn] ?? 0;
    this.#sizes[this.#turn] = 0;
    if (size === 0 || this.#entries === undefined) return;
    const framed = this.#inbound.process(ESP + this.#turn * PLACE_SIZE, size, this.#entries, 0, 0);
    if (framed === this.#frame.length) this.delivered++;
  }
}

function ipv4Frame(): Uint8Array {
  const frame = new Uint8Array(framing.FRAME_HEADER_SIZE + PACKET_SIZE);
  const view = new DataView(frame.buffer);
  const packet = framing.FRAME_HEADER_SIZE;
  view.setUint16(framing.PI_PROTO, framing.ETH_P_IP);
  view.setInt32(framing.SHIM_TAG, framing.tagOf(0));
  view.setUint32(framing.SHIM_IF_ID, IF_ID, true);
  view.setUint8(packet, 0x40 + IPV4_HEADER_SIZE / 4);
  view.setUint16(packet + 2, PACKET_SIZE);
  return frame;
}

/** Runs until the operations are done or the time is over. */
export function soak({
  suite,
  crypto,
  operations,
  maxSeconds,
  rekeyEvery,
  progress,
}: SoakOptions): SoakResult {
  const loop = new LoopBack(suite, crypto);
  const started = performance.now();
  const seconds = () => (performance.now() - started) / 1000;
  const packets = Math.ceil(operations / 2);
  let sent = 0;
  let rekeys = 0;
  let residentEarly = 0;
  let told = 0;
  try {
    while (sent < packets && seconds() < maxSeconds) {
      const chunk = Math.min(CHUNK, packets - sent);
      for (let i = 0; i < chunk; i++) {
        if (sent > 0 && (sent + i) % rekeyEvery === 0) {
          loop.rekey();
          rekeys++;
        }
        loop.send();
      }
      sent += chunk;
      if (residentEarly === 0 && (sent >= packets / 2 || seconds() >= maxSeconds / 2))
        residentEarly = process.memoryUsage.rss();
      if (progress !== undefined && seconds() - told > 10) {
        told = seconds();
        progress(`${2 * sent} of ${operations} operations, ${rekeys} rekeys`);
      }
    }
    loop.finish();
    const errors = XFRM_STATS.map((name) => [name, loop.counters.get(name)] as const);
    return {
      suite,
      crypto: loop.crypto,
      operations: 2 * sent,
      seconds: seconds(),
      rekeys,
      lost: sent - loop.delivered,
      residentEarly,
      residentLate: process.memoryUsage.rss(),
      errors: Object.fromEntries(errors.filter(([, count]) => count > 0)),
    };
  } finally {
    loop.close();
  }
}
