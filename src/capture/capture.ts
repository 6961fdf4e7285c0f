import { readShim } from "../esp/index.js";
import { PacketSocket, type SeenPacket } from "../sys/packet-socket.js";
import { espAddress } from "./esp-packet.js";
import type { CapturedSa, KnownSas } from "./known-sas.js";
import { pcapngHeader, pcapngPacket } from "./pcapng.js";

export interface CaptureOptions {
  /** Of the interface of the userspace backend. */
  readonly ifindex: number;
  readonly interfaceName: string;
  readonly what: "inner" | "outer" | "both";
  /** Asked again for every batch: SAs come and go. */
  readonly known: () => KnownSas;
  /** Takes the file, a piece at a time. */
  readonly write: (bytes: Buffer) => void;
}

const INNER = 0;
const OUTER = 1;

/**
 * Captures the packets of a userspace interface in pcapng: inner ones as they pass the TUN device, where each has its
 * metadata in front, and outer ones wherever they pass. Each has its if_id and SPI as a comment.
 */
export class SteeringCapture {
  /** Packets written. */
  packets = 0;
  readonly #options: CaptureOptions;
  readonly #socket = new PacketSocket();

  /** Captures from now on, in the calling thread's network namespace. @throws SystemError */
  constructor(options: CaptureOptions) {
    this.#options = options;
    options.write(pcapngHeader([`${options.interfaceName} (inner)`, "ESP (outer)"]));
  }

  /**
   * Writes what was seen since the last call.
   * @param most no more packets than this
   */
  drain(most = Number.POSITIVE_INFINITY): void {
    const known = this.#options.known();
    const until = this.packets + most;
    for (let seen = this.#socket.receive(); seen.length > 0; seen = this.#socket.receive()) {
      for (const packet of seen) {
        if (this.packets === until) return;
        if (packet.ifindex === this.#options.ifindex) this.#inner(packet, known);
        else this.#outer(packet, known);
      }
    }
  }

  close(): void {
    this.#socket.close();
  }

  #inner({ data, outgoing, time }: SeenPacket, known: KnownSas): void {
    const shim = this.#options.what === "outer" ? null : readShim(data);
    if (shim === null) return; // it was never steered
    const { ifId, packet } = shim;
    const sas = known.candidates(outgoing ? "out" : "in", ifId);
    const spi = sas.length === 1 ? sas[0]?.spi : undefined;
    this.#write(INNER, packet, outgoing, time, comment(ifId, spi, sas[0]));
  }

  #outer({ data, protocol, outgoing, time }: SeenPacket, known: KnownSas): void {
    if (this.#options.what === "inner") return;
    const address = espAddress(data, protocol, known.ports);
    if (address === null) return;
    const sa = known.of(outgoing ? "out" : "in", address);
    this.#write(OUTER, data, outgoing, time, comment(sa?.ifId, address.spi, sa));
  }

  #write(interfaceId: number, data: Buffer, outgoing: boolean, time: bigint, text: string): void {
    const direction = outgoing ? "out" : "in";
    this.#options.write(
      pcapngPacket({ interfaceId, time, data, length: data.length, direction, comment: text }),
    );
    this.packets++;
  }
}

function comment(ifId: number | undefined, spi: number | undefined, sa: CapturedSa | undefined): string {
  return [
    ifId === undefined ? "no SA with this SPI and destination" : `if_id ${ifId}`,
    ...(spi === undefined ? [] : [`SPI 0x${spi.toString(16).padStart(8, "0")}`]),
    ...(sa ? [`connection ${sa.connection}`] : []),
  ].join(", ");
}
