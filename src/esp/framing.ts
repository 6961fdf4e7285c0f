/**
 * What stands in front of each IP packet that is read from or written to the TUN device, 26 bytes in all:
 *
 *   0  struct tun_pi          u16 flags (host order), be16 proto: 0x0800 or 0x86dd
 *   4  struct virtio_net_hdr  u8 flags, u8 gso_type, u16 hdr_len, gso_size, csum_start, csum_offset (host order)
 *  14  metadata shim          struct tun_shim of bpf/tun_shim.h: be32 tag; u32 if_id, s32 link (host order)
 *  26  IP packet
 *
 * The TC egress program writes the shim and the TC ingress program takes it off, so to the kernel it is the first 12
 * bytes of the packet: csum_start and hdr_len count from the shim, also of a GSO packet. Host order is little-endian on x86-64 and arm64.
 * Datagrams that are received together are opened where they are: the header of one lies over its SPI, sequence number and
 * IV, and over trailer and ICV of the one before. Of the AEAD suites these have 30 bytes, and the header is not to be longer.
 */
export const PI_FLAGS = 0;
export const PI_PROTO = 2;
export const VNET_HDR = 4;
export const VNET_FLAGS = 4;
export const VNET_GSO_TYPE = 5;
export const VNET_HDR_LEN = 6;
export const VNET_GSO_SIZE = 8;
export const VNET_CSUM_START = 10;
export const VNET_CSUM_OFFSET = 12;
export const VNET_HDR_SIZE = 10;
export const SHIM_TAG = 14;
export const SHIM_IF_ID = 18;
export const SHIM_LINK = 22;
export const SHIM_SIZE = 12;
export const FRAME_HEADER_SIZE = 26;

/** First byte of the tag: no IP header begins so, and neither do zeroes. The other three are the epoch. */
const MAGIC = 0xe5;
/** Epochs are 0 to EPOCHS - 1: what an if_id means is one thing within one, and may be another in the next. */
export const EPOCHS = 2 ** 24;

/** The tag of frames of an epoch, as getInt32 reads it. */
export const tagOf = (epoch: number): number => (MAGIC << 24) | (epoch & (EPOCHS - 1));

/** Whether a tag is one of any epoch. */
export const isTag = (tag: number): boolean => tag >>> 24 === MAGIC;

/** linux/if_tun.h: the packet was longer than the buffer. */
export const TUN_PKT_STRIP = 0x0001;
/** linux/virtio_net.h */
export const VIRTIO_NET_HDR_F_NEEDS_CSUM = 1;
export const VIRTIO_NET_HDR_GSO_NONE = 0;
export const VIRTIO_NET_HDR_GSO_TCPV4 = 1;
export const VIRTIO_NET_HDR_GSO_TCPV6 = 4;
export const VIRTIO_NET_HDR_GSO_UDP_L4 = 5;
/** Goes with either of the TCP types: the first segment has CWR set. */
export const VIRTIO_NET_HDR_GSO_ECN = 0x80;
/** linux/if_ether.h */
export const ETH_P_IP = 0x0800;
export const ETH_P_IPV6 = 0x86dd;

/**
 * Takes the shim off a packet as the TUN device has it between our programs and the engine.
 * @returns null for what has none
 */
export function readShim(data: Buffer): { readonly ifId: number; readonly packet: Buffer } | null {
  if (data.length <= SHIM_SIZE || !isTag(data.readInt32BE(0))) return null;
  return { ifId: data.readUInt32LE(SHIM_IF_ID - SHIM_TAG), packet: data.subarray(SHIM_SIZE) };
}
