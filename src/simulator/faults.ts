/**
 * Faults by name. Each says where it strikes, what the kernel does about it, and what is counted for it: at the gateway
 * that has the device, or at its peer. Most strike a quarter of the packets, picked by the simulator's seed.
 */

import { CRYPTO_STATUS } from "../esp/offload/contract.js";
import type { XfrmStat } from "../esp/statistics.js";

export interface Fault {
  readonly summary: string;
  /** Counter that goes up under crypto offload; null when the packets arrive by software or late, and none is lost. */
  readonly crypto: Counted | null;
  /** The same under packet offload, where it differs. */
  readonly packet?: Counted | null;
}

export interface Counted {
  readonly where: "gateway" | "peer";
  readonly counter: XfrmStat;
}

const gateway = (counter: XfrmStat): Counted => ({ where: "gateway", counter });
const peer = (counter: XfrmStat): Counted => ({ where: "peer", counter });

export const FAULTS = {
  "table-full": { summary: "the device's table has no free slot (ENOSPC)", crypto: null },
  "add-eopnotsupp": { summary: "state_add answers EOPNOTSUPP", crypto: null },
  "add-einval": { summary: "state_add answers EINVAL", crypto: null },
  "status-generic-error": status("a generic error", "XfrmInBufferError"),
  "status-transport-ah-auth-failed": status(
    "AH authentication failed, transport mode",
    "XfrmInStateProtoError",
  ),
  "status-transport-esp-auth-failed": status(
    "ESP authentication failed, transport mode",
    "XfrmInStateProtoError",
  ),
  "status-tunnel-ah-auth-failed": status("AH authentication failed, tunnel mode", "XfrmInStateProtoError"),
  "status-tunnel-esp-auth-failed": status("ESP authentication failed, tunnel mode", "XfrmInStateProtoError"),
  "status-invalid-packet-syntax": status("invalid packet syntax", "XfrmInBufferError"),
  "status-invalid-protocol": status("invalid protocol", "XfrmInStateProtoError"),
  "done-without-success": status("nothing, with CRYPTO_DONE set", "XfrmInBufferError"),
  "lookup-miss": {
    summary:
      "the device decrypts, the driver finds no SA and attaches no secpath: software tries the plaintext again",
    crypto: gateway("XfrmInStateProtoError"),
  },
  "stale-secpath": {
    summary: "the driver attaches the secpath of an SA that is deleted",
    crypto: gateway("XfrmInStateInvalid"),
  },
  "wrong-device": {
    summary: "the route leads through another device now",
    crypto: null,
    packet: gateway("XfrmOutError"),
  },
  "feature-off": {
    summary: "esp-hw-offload is switched off, and on again, while packets flow",
    crypto: null,
  },
  "device-down": {
    summary: "the device goes down: the stack deletes its SAs",
    crypto: gateway("XfrmOutNoStates"),
  },
  "device-gone": { summary: "the device is unregistered with SAs on it", crypto: gateway("XfrmOutNoStates") },
  "delete-during-update": {
    summary: "an SA is deleted while its statistics are read and its sequence number advances",
    crypto: gateway("XfrmOutNoStates"),
  },
  "completion-late": { summary: "completions come late and out of order", crypto: null },
  "completion-twice": { summary: "a completion comes twice", crypto: peer("XfrmInStateSeqError") },
  "completion-never": {
    summary: "completions do not come: the queue fills up",
    crypto: gateway("XfrmOutStateProtoError"),
  },
  "backlog-full": {
    summary: "the device takes few packets at a time",
    crypto: gateway("XfrmOutStateProtoError"),
  },
  "esn-wrap": { summary: "the lower half of the sequence number wraps within a burst", crypto: null },
  "bond-failover": { summary: "the bond's active port goes down", crypto: null },
} as const satisfies Record<string, Fault>;

export type FaultName = keyof typeof FAULTS;
export const FAULT_NAMES = Object.keys(FAULTS) as FaultName[];

function status(what: string, counter: XfrmStat): Fault {
  return { summary: `the device reports ${what}`, crypto: gateway(counter) };
}

/** What a received packet's status is under a fault. */
export const FAULT_STATUS: Partial<Record<FaultName, number>> = {
  "status-generic-error": CRYPTO_STATUS.GENERIC_ERROR,
  "status-transport-ah-auth-failed": CRYPTO_STATUS.TRANSPORT_AH_AUTH_FAILED,
  "status-transport-esp-auth-failed": CRYPTO_STATUS.TRANSPORT_ESP_AUTH_FAILED,
  "status-tunnel-ah-auth-failed": CRYPTO_STATUS.TUNNEL_AH_AUTH_FAILED,
  "status-tunnel-esp-auth-failed": CRYPTO_STATUS.TUNNEL_ESP_AUTH_FAILED,
  "status-invalid-packet-syntax": CRYPTO_STATUS.INVALID_PACKET_SYNTAX,
  "status-invalid-protocol": CRYPTO_STATUS.INVALID_PROTOCOL,
  "done-without-success": 0,
};
