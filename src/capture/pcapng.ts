/**
 * The parts of the pcapng format that a capture needs: draft-ietf-opsawg-pcapng, in little-endian order.
 */
const SECTION_HEADER = 0x0a0d0d0a;
const BYTE_ORDER_MAGIC = 0x1a2b3c4d;
const INTERFACE_DESCRIPTION = 1;
const ENHANCED_PACKET = 6;
/** The section's length is not known. */
const UNKNOWN_LENGTH = 0xffffffffffffffffn;

/** Packets that begin with their IPv4 or IPv6 header. */
export const LINKTYPE_RAW = 101;

const OPT_END = 0;
const OPT_COMMENT = 1;
const IF_NAME = 2;
const IF_TSRESOL = 9;
const EPB_FLAGS = 2;
/** Nanoseconds. */
const TSRESOL = 9;

export interface CapturedPacket {
  /** Number of its interface in the file, from 0. */
  readonly interfaceId: number;
  /** Nanoseconds since 1970. */
  readonly time: bigint;
  readonly data: Uint8Array;
  /** Length on the wire, where `data` is cut. */
  readonly length: number;
  readonly direction: "in" | "out";
  readonly comment: string;
}

/** The start of a file: the section, and its interfaces in their order. */
export function pcapngHeader(interfaces: readonly string[]): Buffer {
  const section = Buffer.alloc(16);
  section.writeUInt32LE(BYTE_ORDER_MAGIC, 0);
  section.writeUInt16LE(1, 4);
  section.writeBigUInt64LE(UNKNOWN_LENGTH, 8);
  const descriptions = interfaces.map((name) => {
    const fixed = Buffer.alloc(8);
    fixed.writeUInt16LE(LINKTYPE_RAW, 0);
    const options = [option(IF_NAME, Buffer.from(name)), option(IF_TSRESOL, Buffer.of(TSRESOL))];
    return block(INTERFACE_DESCRIPTION, fixed, ...options, END);
  });
  return Buffer.concat([block(SECTION_HEADER, section), ...descriptions]);
}

export function pcapngPacket({
  interfaceId,
  time,
  data,
  length,
  direction,
  comment,
}: CapturedPacket): Buffer {
  const fixed = Buffer.alloc(20);
  fixed.writeUInt32LE(interfaceId, 0);
  fixed.writeUInt32LE(Number(time >> 32n), 4);
  fixed.writeUInt32LE(Number(time & 0xffffffffn), 8);
  fixed.writeUInt32LE(data.length, 12);
  fixed.writeUInt32LE(length, 16);
  const flags = Buffer.alloc(4);
  flags.writeUInt32LE(direction === "in" ? 1 : 2, 0);
  const options = [option(OPT_COMMENT, Buffer.from(comment)), option(EPB_FLAGS, flags)];
  return block(ENHANCED_PACKET, fixed, padded(data), ...options, END);
}

const END = Buffer.alloc(4, OPT_END);

function option(code: number, value: Uint8Array): Buffer {
  const header = Buffer.alloc(4);
  header.writeUInt16LE(code, 0);
  header.writeUInt16LE(value.length, 2);
  return Buffer.concat([header, padded(value)]);
}

function block(type: number, ...body: Uint8Array[]): Buffer {
  const size = body.reduce((sum, { length }) => sum + length, 12);
  const header = Buffer.alloc(8);
  header.writeUInt32LE(type, 0);
  header.writeUInt32LE(size, 4);
  const trailer = Buffer.alloc(4);
  trailer.writeUInt32LE(size, 0);
  return Buffer.concat([header, ...body, trailer]);
}

const padded = (bytes: Uint8Array): Buffer => Buffer.concat([bytes, Buffer.alloc(-bytes.length & 3)]);
