/**
 * The contract between the stack and a network device that offloads IPsec, under the kernel's names: struct xfrmdev_ops
 * and the features of include/linux/netdevice.h, struct xfrm_dev_offload and struct xfrm_offload of include/net/xfrm.h,
 * Documentation/networking/xfrm_device.rst.
 */
import type { Slab } from "../../sys/slab.js";
import type { Opener, Sealer } from "../aead.js";
import type { EspSink } from "../outbound.js";

/** XFRM_DEV_OFFLOAD_CRYPTO: the device encrypts and decrypts; XFRM_DEV_OFFLOAD_PACKET: it does everything. */
export type OffloadType = "crypto" | "packet";
export type OffloadDirection = "in" | "out";
export type SaMode = "tunnel" | "transport" | "beet";

/** What a driver looks at of an SA (struct xfrm_state). Addresses are canonical text; there is no key in it. */
export interface OffloadState {
  readonly direction: OffloadDirection;
  readonly type: OffloadType;
  readonly spi: number;
  readonly source: string;
  readonly destination: string;
  /** Address family of the outer header. */
  readonly family: 4 | 6;
  readonly mode: SaMode;
  readonly suite: string;
  readonly encapsulation: "none" | "udp";
  readonly esn: boolean;
  /** Anti-replay window in packets. */
  readonly replayWindow: number;
  /** 0: none. */
  readonly reqid: number;
  readonly ifId: number;
  /** Bytes that packets are padded to for traffic-flow confidentiality; 0: off. */
  readonly tfcpad: number;
}

/** A policy as a driver sees it (struct xfrm_policy): packet offload wants it beside the SA. */
export interface OffloadPolicy {
  readonly direction: OffloadDirection;
  readonly reqid: number;
  /** Number of templates: devices take exactly one. */
  readonly templates: number;
  readonly ifId: number;
}

/** errno that drivers return from state_add and policy_add. */
export const OFFLOAD_ERRNO = ["EOPNOTSUPP", "EINVAL", "ENOSPC", "EBUSY", "ENOMEM", "EIO", "EEXIST"] as const;
export type OffloadErrno = (typeof OFFLOAD_ERRNO)[number];

/** What `ip xfrm` would show: 0 and a handle, or an errno and the extack message. */
export type AddResult =
  | { readonly handle: number }
  | { readonly errno: OffloadErrno; readonly extack: string };

/** Netdevice features under their ethtool names. */
export const FEATURES = {
  /** NETIF_F_HW_ESP */
  "esp-hw-offload": 1,
  /** NETIF_F_HW_ESP_TX_CSUM */
  "esp-tx-csum-hw-offload": 2,
  /** NETIF_F_GSO_ESP */
  "tx-esp-segmentation": 4,
} as const;
export type FeatureName = keyof typeof FEATURES;

export const OPERATIONS = [
  "state_add",
  "state_delete",
  "state_free",
  "offload_ok",
  "advance_esn",
  "update_stats",
  "policy_add",
  "policy_delete",
  "policy_free",
] as const;
export type Operation = (typeof OPERATIONS)[number];

export interface OffloadStatistics {
  readonly packets: number;
  /** Of inner IP packets. */
  readonly bytes: number;
}

/**
 * struct xfrmdev_ops, xdo_dev_ left out. A driver has the operations that its `operations` names; calling another is a
 * mistake of the caller. `handle` is xso.offload_handle, never 0.
 */
export interface XfrmdevOps {
  readonly operations: ReadonlySet<Operation>;
  state_add(state: OffloadState): AddResult;
  /** The device is not to use the SA any more; packets on their way may still hold it. */
  state_delete(handle: number): void;
  /** The last reference is gone. */
  state_free(handle: number): void;
  /** Moves the device's upper half of the sequence number (RFC 4304). */
  advance_esn(handle: number, high: number): void;
  update_stats(handle: number): OffloadStatistics;
  policy_add(policy: OffloadPolicy): AddResult;
  policy_delete(handle: number): void;
  policy_free(handle: number): void;
}

/** A network device as the stack sees it. */
export interface OffloadDevice {
  readonly name: string;
  readonly ops: XfrmdevOps | null;
  /** FEATURES, ORed. */
  readonly features: number;
  readonly up: boolean;
  /** References of SAs and policies (dev_hold): the device can go only when there are none. */
  hold(): void;
  put(): void;
}

/** xo->status of a received packet (include/net/xfrm.h); anything but SUCCESS drops it. */
export const CRYPTO_STATUS = {
  SUCCESS: 1,
  GENERIC_ERROR: 2,
  TRANSPORT_AH_AUTH_FAILED: 4,
  TRANSPORT_ESP_AUTH_FAILED: 8,
  TUNNEL_AH_AUTH_FAILED: 16,
  TUNNEL_ESP_AUTH_FAILED: 32,
  INVALID_PACKET_SYNTAX: 64,
  INVALID_PROTOCOL: 128,
} as const;

/** xo->flags, above the status bits in what RxContext.receive returns. */
export const XO_FLAGS = {
  /** CRYPTO_DONE: the device decrypted, `status` says with what success. */
  CRYPTO_DONE: 0x100,
  /** XFRM_ESP_NO_TRAILER: it removed the trailer too. */
  ESP_NO_TRAILER: 0x200,
  /** The secpath that it attached names an SA that is deleted (km.state is not XFRM_STATE_VALID). */
  STALE_SECPATH: 0x400,
} as const;

/** What a device has of an outbound SA: encrypts with it. `seal` answers false when the device takes no packet now. */
export interface TxContext extends Sealer {
  /** The device's features at this moment, FEATURES ORed. */
  readonly features: number;
  /** False once the SA was deleted, by hand or because its device went down. */
  readonly alive: boolean;
  /** Whether the device that serves has the SA: the second port of a bond may not. */
  readonly present: boolean;
  /** Whether the next packet's route leads through another device; asked once a packet. */
  rerouted(): boolean;
  /** xdo_dev_state_advance_esn, from the thread that sends. */
  advanceEsn(high: number): void;
}

/** What a device has of an inbound SA: decrypts with it before the stack sees the packet. */
export interface RxContext extends Pick<Opener, "close"> {
  readonly alive: boolean;
  /** After ESP_NO_TRAILER: the next header, and the size of what is left. */
  readonly nextHeader: number;
  readonly size: number;
  /**
   * As Opener.open, the ciphertext at `text`.
   * @returns XO_FLAGS and CRYPTO_STATUS ORed; 0 when the device left the packet to the stack
   */
  receive(packet: number, sequenceHigh: number, text: number, length: number): number;
}

/** What a thread that sends or receives has of the devices. Specs come from the thread that configures them. */
export interface OffloadHardware {
  tx(context: unknown, slab: Slab, sealer: Sealer): TxContext;
  rx(context: unknown, slab: Slab, opener: Opener): RxContext;
  /**
   * Where packets go when they are sealed: a device that answers on its own time holds them for a while. `poll` takes
   * what is done; after it nothing is under way that could be done.
   */
  sink<S>(inner: EspSink<S>, slab: Slab): EspSink<S> & { poll(): void };
}
