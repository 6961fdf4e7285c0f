const ETH_P_IP = 0x0800;
const ETH_P_IPV6 = 0x86dd;
const IPPROTO_UDP = 17;
const IPPROTO_ESP = 50;
const UDP_SIZE = 8;

/** What an SA is found by (RFC 4301 section 4.1). */
export interface EspAddress {
  /** In network byte order. */
  readonly destination: Uint8Array;
  /** In host byte order. */
  readonly spi: number;
}

/**
 * @param protocol its EtherType
 * @param ports UDP ports of the encapsulation (RFC 3948)
 * @returns of an IP packet that carries ESP right behind its header or in UDP; null for any other packet
 */
export function espAddress(packet: Buffer, protocol: number, ports: ReadonlySet<number>): EspAddress | null {
  if (protocol === ETH_P_IP) {
    // A later fragment shows no SPI.
    if (packet.length < 20 || (packet.readUInt16BE(6) & 0x1fff) !== 0) return null;
    const payload = packet.subarray((packet.readUInt8(0) & 15) * 4);
    return addressed(packet.subarray(16, 20), spiOf(packet.readUInt8(9), payload, ports));
  }
  if (protocol !== ETH_P_IPV6 || packet.length < 40) return null;
  return addressed(packet.subarray(24, 40), spiOf(packet.readUInt8(6), packet.subarray(40), ports));
}

const addressed = (destination: Uint8Array, spi: number | null): EspAddress | null =>
  spi === null ? null : { destination, spi };

function spiOf(protocol: number, payload: Buffer, ports: ReadonlySet<number>): number | null {
  if (protocol === IPPROTO_ESP) return wordAt(payload, 0);
  if (protocol !== IPPROTO_UDP || payload.length < UDP_SIZE) return null;
  if (!ports.has(payload.readUInt16BE(0)) && !ports.has(payload.readUInt16BE(2))) return null;
  // 0 is the non-ESP marker of IKE.
  return wordAt(payload, UDP_SIZE) || null;
}

const wordAt = (packet: Buffer, at: number): number | null =>
  packet.length < at + 4 ? null : packet.readUInt32BE(at);
