import type { Namespace } from "./namespace.js";
import { PacketSocket } from "./netns-socket.js";

// https://www.ietf.org/archive/id/draft-ietf-opsawg-pcap: magic, version 2.4, LINKTYPE_ETHERNET or LINKTYPE_RAW.
const PCAP_MAGIC = 0xa1b2c3d4;
const SNAP_LENGTH = 65535;
export const LINKTYPE_ETHERNET = 1;
export const LINKTYPE_RAW = 101;

/** A pcap file of frames. Times are not kept: frames come one microsecond after another. */
export function pcapFile(frames: readonly Buffer[], linkType: number): Buffer {
  const header = Buffer.alloc(24);
  header.writeUInt32LE(PCAP_MAGIC, 0);
  header.writeUInt16LE(2, 4);
  header.writeUInt16LE(4, 6);
  header.writeUInt32LE(SNAP_LENGTH, 16);
  header.writeUInt32LE(linkType, 20);
  const records = frames.flatMap((frame, index) => {
    const record = Buffer.alloc(16);
    record.writeUInt32LE(Math.floor(index / 1e6), 0);
    record.writeUInt32LE(index % 1e6, 4);
    record.writeUInt32LE(frame.length, 8);
    record.writeUInt32LE(frame.length, 12);
    return [record, frame];
  });
  return Buffer.concat([header, ...records]);
}

/** Frames of one Ethernet device, from when it was made. */
export class Capture {
  /** Names the capture's file. */
  readonly name: string;
  private readonly socket: PacketSocket;
  private readonly taken: Buffer[] = [];

  constructor(namespace: Namespace, device: string) {
    this.name = `${namespace.name}-${device}`;
    this.socket = new PacketSocket(namespace.path, device);
  }

  /** All frames so far, with their Ethernet header, in both directions. */
  frames(): readonly Buffer[] {
    this.taken.push(...this.socket.drain());
    return this.taken;
  }

  /** How many frames carry these bytes, as plaintext that leaked would. */
  count(bytes: Buffer | string): number {
    return this.frames().filter((frame) => frame.includes(bytes)).length;
  }

  /** The SPIs of all ESP packets, in their order. */
  spis(): number[] {
    return this.frames().flatMap((frame) => espSpi(frame) ?? []);
  }

  /** How many ESP packets (IP protocol 50, IPv4 without options or IPv6) with this SPI were seen. */
  esp(spi: number): number {
    return this.spis().filter((each) => each === spi).length;
  }

  close(): void {
    this.socket.close();
  }
}

const IPPROTO_ESP = 50;

/** The SPI of an Ethernet frame that carries ESP right behind its IP header, else undefined. */
export function espSpi(frame: Buffer): number | undefined {
  const type = frame.length > 14 ? frame.readUInt16BE(12) : 0;
  if (type === 0x0800 && frame.length >= 38 && frame[23] === IPPROTO_ESP) return frame.readUInt32BE(34);
  if (type === 0x86dd && frame.length >= 58 && frame[20] === IPPROTO_ESP) return frame.readUInt32BE(54);
  return undefined;
}
