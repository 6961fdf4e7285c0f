import { chooseBackend } from "../esp/aead.js";
import { inboundTable, outboundTable, type Policy } from "../esp/database.js";
import { Inbound } from "../esp/inbound.js";
import type { OffloadState, OffloadType } from "../esp/offload/contract.js";
import { OffloadCounters } from "../esp/offload/counters.js";
import { InboundOffload } from "../esp/offload/receive.js";
import { OutboundOffload } from "../esp/offload/transmit.js";
import { Outbound } from "../esp/outbound.js";
import type { Mode } from "../esp/packet.js";
import { makeInbound, makeOutbound, type OutboundState } from "../esp/sa.js";
import { ANY_SELECTOR } from "../esp/selector.js";
import { Counters, XFRM_STATS } from "../esp/statistics.js";
import type { SuiteName } from "../esp/suite.js";
import { Traffic } from "../esp/traffic.js";
import { PacketSlab } from "../sys/packet-slab.js";
import { type ContextSpec, createHardware, type HardwareSpec } from "./hardware.js";

const FRAME = 6;
const ESP = 2 ** 17 + 128;
const LOCAL = "192.0.2.1";
const REMOTE = "198.51.100.1";
const IF_ID = 101;
const SPI = 0x1001;
const REPLAY_WINDOW = 1024;

export interface LoopbackOptions {
  readonly suite: SuiteName;
  readonly mode: Mode;
  readonly esn?: boolean;
  readonly keymat: Uint8Array;
  /** Lower half of the number before the first. */
  readonly sequence?: number;
  /** What has the SAs, in one thread; left out, software does all of it. */
  readonly device?: {
    readonly type: OffloadType;
    readonly hardware: HardwareSpec;
    readonly out: ContextSpec | null;
    readonly in: ContextSpec | null;
  };
}

/**
 * One SA in each direction with the same key, over one piece of memory and without I/O: the packet path of the data path's
 * two threads, for one that looks at each packet. IVs are the sequence numbers, so that two of these can be compared.
 */
export class Loopback {
  readonly counters = new Counters();
  readonly outCounted = new OffloadCounters();
  readonly inCounted = new OffloadCounters();
  readonly #slab = new PacketSlab(2 ** 19);
  readonly #outbound: Outbound<OutboundState>;
  readonly #inbound = new Inbound(this.#slab, this.counters, () => {});
  readonly #entries: ReturnType<typeof inboundTable>;
  readonly #poll: () => void;
  readonly #close: () => void;
  #sealed: Buffer[] = [];

  constructor({ suite, mode, esn = false, keymat, sequence = 0, device }: LoopbackOptions) {
    const slab = this.#slab;
    const backend = chooseBackend("auto");
    const hardware = device && createHardware(device.hardware);
    const parameters = { ifId: IF_ID, spi: SPI, suite, esn, mode, inner: null };
    const outbound = { ...parameters, local: LOCAL, remote: REMOTE, padTo: 0 };
    const inbound = { ...parameters, local: REMOTE, remote: LOCAL, replayWindow: REPLAY_WINDOW };
    const cipher = { suite, esn, keymat };
    const out = makeOutbound(slab, backend, outbound, keymat, new Traffic());
    const into = makeInbound(slab, backend, inbound, keymat, new Traffic());
    const tx = hardware && device?.out ? hardware.tx(device.out, slab, backend.sealer(slab, cipher)) : null;
    const rx = hardware && device?.in ? hardware.rx(device.in, slab, backend.opener(slab, cipher)) : null;
    const state = {
      ...out,
      sequence,
      ivHigh: 0,
      ivLow: 0,
      offload:
        tx &&
        new OutboundOffload(slab, out.sealer, tx, device?.type ?? "crypto", this.outCounted, this.counters),
    };
    const entry = { ...into, offload: rx && new InboundOffload(rx, this.inCounted, this.counters) };
    if (sequence > 0) entry.replay.accept(0, sequence);
    const last = {
      reserve: () => ESP,
      commit: (_state: OutboundState, _link: number, size: number) =>
        void this.#sealed.push(Buffer.from(slab.bytes.slice(ESP, ESP + size))),
    };
    const ring = hardware?.sink(last, slab);
    this.#poll = () => ring?.poll();
    this.#outbound = new Outbound<OutboundState>(slab, this.counters, ring ?? last);
    this.#outbound.table = outboundTable([policy("out", mode, LOCAL, REMOTE)], [state]);
    this.#entries = inboundTable([policy("in", mode, REMOTE, LOCAL)], [entry]);
    this.#close = () => {
      out.sealer.close();
      into.opener.close();
      tx?.close();
      rx?.close();
    };
  }

  /** Sends the framed packet. @returns the ESP packets, in the order in which they leave */
  seal(frame: Uint8Array): Buffer[] {
    this.#sealed = [];
    this.#slab.bytes.set(frame, FRAME);
    this.#outbound.process(FRAME, frame.length);
    this.#poll();
    return this.#sealed;
  }

  /** Receives an ESP packet. @returns the frame for the TUN device, null where it was dropped */
  open(packet: Uint8Array): Buffer | null {
    this.#slab.bytes.set(packet, ESP);
    const states = this.#entries.get(REMOTE) as Parameters<Inbound["process"]>[2];
    const size = this.#inbound.process(ESP, packet.length, states, 0, 0);
    const at = this.#inbound.frame;
    return size === 0 ? null : Buffer.from(this.#slab.bytes.slice(at, at + size));
  }

  /** The counters of /proc/net/xfrm_stat that are not 0. */
  get statistics(): Record<string, number> {
    const counted = XFRM_STATS.map((name) => [name, this.counters.get(name)] as const);
    return Object.fromEntries(counted.filter(([, value]) => value > 0));
  }

  close(): void {
    this.#close();
  }
}

function policy(direction: "in" | "out", mode: Mode, local: string, remote: string): Policy {
  return {
    ifId: IF_ID,
    direction,
    selector: ANY_SELECTOR,
    priority: 0,
    template: { mode, local, remote },
  };
}

/** The SAs of a Loopback as a driver sees them. */
export function loopbackState(
  direction: "in" | "out",
  type: OffloadType,
  { suite, mode, esn = false }: Pick<LoopbackOptions, "suite" | "mode" | "esn">,
): OffloadState {
  return {
    direction,
    type,
    spi: SPI,
    source: LOCAL,
    destination: REMOTE,
    family: 4,
    mode,
    suite,
    encapsulation: "none",
    esn,
    replayWindow: 64,
    reqid: IF_ID,
    ifId: IF_ID,
    tfcpad: 0,
  };
}
