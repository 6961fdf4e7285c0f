const IPPROTO_UDP = 17;
const IPPROTO_ESP = 50;
const IPV6_SIZE = 40;
const UDP_SIZE = 8;

/**
 * @param ports UDP ports of the encapsulation (RFC 3948)
 * @returns the SPI of an IP packet that carries ESP right behind its header or in UDP; null for any other
 */
export function espSpi(packet: Buffer, ports: ReadonlySet<number>): number | null {
  if (packet.length < 20) return null;
  const version = (packet[0] as number) >> 4;
  const header = version === 4 ? ((packet[0] as number) & 15) * 4 : IPV6_SIZE;
  const protocol = packet[version === 4 ? 9 : 6];
  // A later fragment shows no SPI.
  if (version === 4 && (packet.readUInt16BE(6) & 0x1fff) !== 0) return null;
  if (protocol === IPPROTO_ESP) return wordAt(packet, header);
  if (protocol !== IPPROTO_UDP || packet.length < header + UDP_SIZE) return null;
  if (!ports.has(packet.readUInt16BE(header)) && !ports.has(packet.readUInt16BE(header + 2))) return null;
  // 0 is the non-ESP marker of IKE.
  return wordAt(packet, header + UDP_SIZE) || null;
}

const wordAt = (packet: Buffer, at: number): number | null =>
  packet.length < at + 4 ? null : packet.readUInt32BE(at);
