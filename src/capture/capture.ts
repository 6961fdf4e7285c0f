import { SHIM_SIZE } from "../esp/index.js";
import { PacketSocket, type SeenPacket } from "../sys/packet-socket.js";
import { espSpi } from "./esp-packet.js";
import { pcapngHeader, pcapngPacket } from "./pcapng.js";

/** What is known of a connection's SAs. SPIs in host byte order; keys have no place here. */
export interface CapturedConnection {
  readonly name: string;
  readonly ifId: number;
  readonly spiOut: number;
  /** The one in use first, and those that are valid besides. */
  readonly spisIn: readonly number[];
}

/** What comments are made from. */
export interface Known {
  readonly connections: readonly CapturedConnection[];
  /** UDP ports of the encapsulation. */
  readonly ports: ReadonlySet<number>;
}

export interface CaptureOptions {
  /** Of the interface of the userspace backend. */
  readonly ifindex: number;
  readonly interfaceName: string;
  readonly what: "inner" | "outer" | "both";
  /** Asked again for every batch: SAs come and go. */
  readonly known: () => Known;
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

  #inner({ data, outgoing, time }: SeenPacket, { connections }: Known): void {
    // Its size in front of the packet (framing.ts); what is shorter was never steered.
    if (this.#options.what === "outer" || data.length <= SHIM_SIZE) return;
    const ifId = data.readUInt32LE(0);
    const connection = connections.find((each) => each.ifId === ifId);
    const spi = (outgoing ? connection?.spiOut : connection?.spisIn[0]) ?? null;
    this.#write(INNER, data.subarray(SHIM_SIZE), outgoing, time, comment(ifId, spi, connection));
  }

  #outer({ data, outgoing, time }: SeenPacket, { connections, ports }: Known): void {
    if (this.#options.what === "inner") return;
    const spi = espSpi(data, ports);
    if (spi === null) return;
    const connection = connections.find(({ spiOut, spisIn }) =>
      outgoing ? spiOut === spi : spisIn.includes(spi),
    );
    this.#write(OUTER, data, outgoing, time, comment(connection?.ifId ?? null, spi, connection));
  }

  #write(interfaceId: number, data: Buffer, outgoing: boolean, time: bigint, text: string): void {
    const direction = outgoing ? "out" : "in";
    this.#options.write(
      pcapngPacket({ interfaceId, time, data, length: data.length, direction, comment: text }),
    );
    this.packets++;
  }
}

function comment(
  ifId: number | null,
  spi: number | null,
  connection: CapturedConnection | undefined,
): string {
  return [
    ifId === null ? "no SA with this SPI" : `if_id ${ifId}`,
    ...(spi === null ? [] : [`SPI 0x${spi.toString(16).padStart(8, "0")}`]),
    ...(connection ? [`connection ${connection.name}`] : []),
  ].join(", ");
}
