import { chooseBackend } from "../../esp/aead.js";
import { inboundTable, outboundTable, type Policy } from "../../esp/database.js";
import { FRAME_HEADER_SIZE } from "../../esp/framing.js";
import * as ip from "../../esp/headers.js";
import { Inbound } from "../../esp/inbound.js";
import { AddressPair } from "../../esp/ip-header.js";
import { Outbound } from "../../esp/outbound.js";
import { type InboundState, makeInbound, makeOutbound, type OutboundState } from "../../esp/sa.js";
import { ANY_SELECTOR } from "../../esp/selector.js";
import { Counters, XFRM_STATS } from "../../esp/statistics.js";
import { Traffic } from "../../esp/traffic.js";
import { NumberTable } from "../../sys/number-table.js";
import { fold16, PacketSlab, swap16 } from "../../sys/packet-slab.js";
import { parseAddress } from "../../sys/sockaddr.js";
import type { Line } from "./ends.js";

/** Where frames from the stack go in the slab, and where ESP packets are sealed to and opened, outer headers in front. */
const FRAME = 6;
const ESP = 2 ** 17 + 128;
const IPPROTO_ESP = 50;

interface PeerState extends OutboundState {
  readonly line: Line;
  readonly outer: AddressPair;
}

/** The other end of every connection: plain software, which answers each inner packet with its own bytes, sent back. */
export class Peer {
  readonly counters = new Counters();
  readonly #slab = new PacketSlab(2 ** 18);
  readonly #outbound: Outbound<PeerState>;
  readonly #inbound: Inbound;
  readonly #entries: ReturnType<typeof inboundTable<InboundState>>;
  readonly #close: () => void;
  #answers: Buffer[] = [];

  /** @param sequence what the first packet of each connection comes after, as replay-seq of `ip xfrm state` */
  constructor(lines: readonly Line[], sequence: number) {
    const slab = this.#slab;
    this.#inbound = new Inbound(slab, this.counters, () => {});
    this.#outbound = new Outbound<PeerState>(slab, this.counters, {
      reserve: () => ESP,
      commit: (state, _link, size, tos) => this.#answers.push(this.#encapsulate(state, size, tos)),
    });
    const policies = lines.flatMap(policiesOf);
    const states = lines.map((line) => statesOf(slab, line));
    if (sequence > 0) for (const state of states) state.in.replay.accept(0, sequence);
    this.#outbound.table = outboundTable(
      policies,
      states.map(({ out }) => out),
    );
    this.#entries = inboundTable(
      policies,
      states.map((state) => state.in),
    );
    this.#close = () => {
      for (const state of states) {
        state.in.opener.close();
        state.out.sealer.close();
      }
    };
  }

  /**
   * Takes an IP packet off the wire.
   * @returns the IP packets that it answers with; null for what is not ESP
   */
  take(packet: Uint8Array): Buffer[] | null {
    const { bytes, view } = this.#slab;
    const outer = new DataView(packet.buffer, packet.byteOffset, packet.byteLength);
    const v6 = outer.getUint8(0) >>> 4 === 6;
    const header = v6 ? ip.IPV6_HEADER_SIZE : (outer.getUint8(0) & 15) * 4;
    const protocol = outer.getUint8(v6 ? ip.IPV6_NEXT_HEADER : ip.IPV4_PROTOCOL);
    if (protocol !== ip.IPPROTO_UDP && protocol !== IPPROTO_ESP) return null;
    const payload = header + (protocol === ip.IPPROTO_UDP ? ip.UDP_HEADER_SIZE : 0);
    const at = v6 ? ip.IPV6_SOURCE + 16 : ip.IPV4_SOURCE + 4;
    const destination = textOf(packet.subarray(at, at + (v6 ? 16 : 4)));
    bytes.set(packet.subarray(payload), ESP);
    const entries = this.#entries.get(destination) ?? new NumberTable();
    const size = this.#inbound.process(ESP, packet.length - payload, entries, 0, 0);
    this.#answers = [];
    if (size > 0 && isUdp(view, this.#inbound.frame + FRAME_HEADER_SIZE)) {
      bytes.copyWithin(FRAME, this.#inbound.frame, this.#inbound.frame + size);
      turnAround(view, FRAME + FRAME_HEADER_SIZE);
      this.#outbound.process(FRAME, size);
    }
    return this.#answers;
  }

  /** The counters of /proc/net/xfrm_stat that are not 0. */
  get statistics(): Record<string, number> {
    return Object.fromEntries(
      XFRM_STATS.map((name) => [name, this.counters.get(name)] as const).filter(([, value]) => value > 0),
    );
  }

  close(): void {
    this.#close();
  }

  #encapsulate({ outer, line }: PeerState, size: number, tos: number): Buffer {
    const { bytes, view } = this.#slab;
    const { encapsulation, localPort, remotePort } = line.esp;
    let start = ESP;
    if (encapsulation === "udp") {
      start -= ip.UDP_HEADER_SIZE;
      view.setUint16(start, remotePort);
      view.setUint16(start + 2, localPort);
      view.setUint16(start + ip.UDP_LENGTH, ESP + size - start);
      view.setUint16(start + ip.UDP_CHECKSUM, 0);
    }
    const length = ESP + size - start;
    const packet = start - outer.headerSize;
    const protocol = encapsulation === "udp" ? ip.IPPROTO_UDP : IPPROTO_ESP;
    outer.write(this.#slab, packet, length + outer.headerSize, 0, protocol, tos);
    // RFC 6935: over IPv6 a socket does not take UDP without a checksum unless it is told to.
    if (outer.v6 && encapsulation === "udp") {
      const pseudo = swap16(length) + swap16(ip.IPPROTO_UDP);
      const sum = this.#slab.sum(packet + ip.IPV6_SOURCE, length + 32, pseudo);
      view.setUint16(start + ip.UDP_CHECKSUM, ~fold16(sum) & 0xffff || 0xffff, true);
    }
    return Buffer.from(bytes.slice(packet, ESP + size));
  }
}

function policiesOf({ connection, esp }: Line): Policy[] {
  const template = { mode: esp.mode, local: canonical(esp.remote), remote: canonical(esp.local) };
  return (["in", "out"] as const).map((direction) => ({
    ifId: connection.ifId,
    direction,
    selector: ANY_SELECTOR,
    priority: 0,
    template,
  }));
}

function statesOf(slab: PacketSlab, line: Line): { in: InboundState; out: PeerState } {
  const { connection, esp, keys } = line;
  const backend = chooseBackend("auto");
  const [local, remote] = [canonical(esp.remote), canonical(esp.local)];
  const inner = esp.inner && { local: esp.inner.remote, remote: esp.inner.local };
  const { suite, esn, mode } = esp;
  const shared = { ifId: connection.ifId, suite, esn, mode, local, remote, inner };
  const incoming = { ...shared, spi: esp.out.spi, replayWindow: esp.replayWindow };
  const outgoing = { ...shared, spi: esp.in.spi, padTo: 0 };
  const [inKey, outKey] = [keys.out, keys.in].map((key) => Buffer.from(key)) as [Buffer, Buffer];
  return {
    in: makeInbound(slab, backend, incoming, inKey, new Traffic()),
    out: {
      ...makeOutbound(slab, backend, outgoing, outKey, new Traffic()),
      line,
      outer: new AddressPair(local, remote),
    },
  };
}

const canonical = (address: string): string => parseAddress(address).text;

function textOf(bytes: Uint8Array): string {
  if (bytes.length === 4) return bytes.join(".");
  const groups = Array.from({ length: 8 }, (_, index) =>
    (((bytes[2 * index] ?? 0) << 8) | (bytes[2 * index + 1] ?? 0)).toString(16),
  );
  return canonical(groups.join(":"));
}

const isUdp = (view: DataView, packet: number): boolean =>
  view.getUint8(packet + (view.getUint8(packet) >>> 4 === 6 ? ip.IPV6_NEXT_HEADER : ip.IPV4_PROTOCOL)) ===
  ip.IPPROTO_UDP;

/** Source and destination change places, in the IP header and of the ports; every checksum stays right. */
function turnAround(view: DataView, packet: number): void {
  const v6 = view.getUint8(packet) >>> 4 === 6;
  const address = packet + (v6 ? ip.IPV6_SOURCE : ip.IPV4_SOURCE);
  const words = v6 ? 4 : 1;
  for (let word = 0; word < words; word++) swap(view, address + 4 * word, address + 4 * (word + words));
  const ports = packet + (v6 ? ip.IPV6_HEADER_SIZE : (view.getUint8(packet) & 15) * 4);
  const source = view.getUint16(ports);
  view.setUint16(ports, view.getUint16(ports + 2));
  view.setUint16(ports + 2, source);
}

function swap(view: DataView, a: number, b: number): void {
  const word = view.getUint32(a);
  view.setUint32(a, view.getUint32(b));
  view.setUint32(b, word);
}
