/** What is written to the TUN device, read as the kernel would. */
import koffi from "koffi";
import * as framing from "../../src/esp/framing.js";
import { Segmenter } from "../../src/esp/segmentation.js";
import { PacketSlab } from "../../src/sys/packet-slab.js";
import type { Slab } from "../../src/sys/slab.js";

const IOVEC_SIZE = 16;

/** Where each of `count` struct iovec at an address points to in a Slab. @throws Error where that is not in it */
export function iovecs(slab: Slab, address: number, count: number): { at: number; length: number }[] {
  return Array.from({ length: count }, (_, index) => {
    const view = new DataView(koffi.view(BigInt(address + index * IOVEC_SIZE), IOVEC_SIZE));
    const at = Number(view.getBigUint64(0, true)) - slab.base;
    const length = Number(view.getBigUint64(8, true));
    if (at < 0 || at + length > slab.bytes.length) throw new Error("an iovec points outside the packets");
    return { at, length };
  });
}

/** The bytes that they point at. */
export function gather(slab: Slab, address: number, count: number): Buffer {
  return Buffer.concat(
    iovecs(slab, address, count).map(({ at, length }) => slab.bytes.slice(at, at + length)),
  );
}

/** The packets that a written frame stands for. */
export function packetsOf(framed: Buffer): Buffer[] {
  if (framed.readUInt8(framing.VNET_GSO_TYPE) === framing.VIRTIO_NET_HDR_GSO_NONE)
    return [framed.subarray(framing.FRAME_HEADER_SIZE)];
  const other = new PacketSlab(2 ** 17);
  other.bytes.set(framed, 6);
  const segmenter = new Segmenter(other);
  if (!segmenter.start(6, framed.length)) throw new Error("the GSO packet does not hold together");
  return Array.from({ length: segmenter.segments }, (_, index) => {
    const at = segmenter.write(index);
    return Buffer.from(other.bytes.slice(at, at + segmenter.size));
  });
}
