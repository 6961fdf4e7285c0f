import type { PacketSlab } from "../sys/packet-slab.js";
import * as framing from "./framing.js";
import * as ip from "./headers.js";

/**
 * Looks at a frame of `length` bytes that was read from the TUN device, and completes the packet's checksum where the
 * kernel left that to the reader, but for a GSO packet.
 * @returns false for a frame that we cannot take
 */
export function completeFrame(slab: PacketSlab, frame: number, length: number): boolean {
  const { view } = slab;
  if (length < framing.FRAME_HEADER_SIZE + ip.IPV4_HEADER_SIZE) return false;
  if ((view.getUint16(frame + framing.PI_FLAGS, true) & framing.TUN_PKT_STRIP) !== 0) return false;
  const needsChecksum =
    (view.getUint8(frame + framing.VNET_FLAGS) & framing.VIRTIO_NET_HDR_F_NEEDS_CSUM) !== 0;
  const segmented = view.getUint8(frame + framing.VNET_GSO_TYPE) !== framing.VIRTIO_NET_HDR_GSO_NONE;
  if (needsChecksum && !segmented && !completeChecksum(slab, frame, length)) return false;
  const protocol = view.getUint16(frame + framing.PI_PROTO);
  const version = view.getUint8(frame + framing.FRAME_HEADER_SIZE) >>> 4;
  return (
    (protocol === framing.ETH_P_IP && version === 4) || (protocol === framing.ETH_P_IPV6 && version === 6)
  );
}

/**
 * The field already holds the pseudo header's sum. A result of 0 becomes 0xffff, as in net/core/dev.c
 * (skb_checksum_help).
 */
function completeChecksum({ view, sum }: PacketSlab, frame: number, length: number): boolean {
  const packet = frame + framing.FRAME_HEADER_SIZE;
  const size = length - framing.FRAME_HEADER_SIZE;
  const start = view.getUint16(frame + framing.VNET_CSUM_START, true) - framing.SHIM_SIZE;
  const field = start + view.getUint16(frame + framing.VNET_CSUM_OFFSET, true);
  if (start < 0 || field + 2 > size) return false;
  view.setUint16(packet + field, ~sum(packet + start, size - start, 0) & 0xffff || 0xffff, true);
  return true;
}
