/**
 * What stands in front of each IP packet that is read from or written to the TUN device, 22 bytes in all:
 *
 *   0  struct tun_pi          u16 flags (host order), be16 proto: 0x0800 or 0x86dd
 *   4  struct virtio_net_hdr  u8 flags, u8 gso_type, u16 hdr_len, gso_size, csum_start, csum_offset (host order)
 *  14  metadata shim          u32 if_id, s32 link (host order), as in struct bpf_xfrm_info
 *  22  IP packet
 *
 * The TC egress program writes the shim and the TC ingress program takes it off, so to the kernel it is the first 8
 * bytes of the packet: csum_start and hdr_len count from the shim, also of a GSO packet. Host order is little-endian on x86-64 and arm64.
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
export const SHIM_IF_ID = 14;
export const SHIM_LINK = 18;
export const SHIM_SIZE = 8;
export const FRAME_HEADER_SIZE = 22;

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
