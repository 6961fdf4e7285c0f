import { ESP_PORT } from "./cells.js";

const ETHERNET_SIZE = 14;
const ETH_P_IP = 0x0800;
const ETH_P_IPV6 = 0x86dd;
const IPPROTO_UDP = 17;
const IPPROTO_FRAGMENT = 44;
const IPPROTO_ESP = 50;
const UDP_SIZE = 8;

/** The ESP packets among captured frames: bare, or in UDP on port 4500. */
export class Wire {
  fragments = 0;
  readonly #bySpi = new Map<number, Buffer[]>();

  constructor(frames: readonly Buffer[]) {
    for (const frame of frames) this.#add(frame);
  }

  /** How many had this SPI. */
  packets(spi: number): number {
    return this.#bySpi.get(spi)?.length ?? 0;
  }

  /** Whether one with this SPI holds these bytes. */
  has(spi: number, bytes: string): boolean {
    return (this.#bySpi.get(spi) ?? []).some((packet) => packet.includes(bytes));
  }

  #add(frame: Buffer): void {
    const type = frame.readUInt16BE(ETHERNET_SIZE - 2);
    if (type !== ETH_P_IP && type !== ETH_P_IPV6) return;
    const packet = frame.subarray(ETHERNET_SIZE);
    const v4 = type === ETH_P_IP;
    const protocol = v4 ? packet[9] : packet[6];
    if (v4 ? (packet.readUInt16BE(6) & 0x3fff) !== 0 : protocol === IPPROTO_FRAGMENT) this.fragments++;
    const payload = packet.subarray(v4 ? ((packet[0] as number) & 15) * 4 : 40);
    if (protocol === IPPROTO_ESP) this.#take(payload);
    else if (protocol === IPPROTO_UDP && payload.readUInt16BE(2) === ESP_PORT)
      this.#take(payload.subarray(UDP_SIZE));
  }

  #take(esp: Buffer): void {
    if (esp.length < 4) return;
    const spi = esp.readUInt32BE(0);
    const before = this.#bySpi.get(spi);
    if (before) before.push(esp);
    else this.#bySpi.set(spi, [esp]);
  }
}
