import type { HardLimits, Traffic } from "./traffic.js";

/** How much and how long an SA is used (RFC 4301 section 4.4.2.1); what is left out has no limit. */
export interface Limits {
  readonly packets?: number;
  /** Of inner packets. */
  readonly bytes?: number;
  /** Since the SA was added. */
  readonly seconds?: number;
}

/** At a soft limit an event asks for a new SA; at a hard one the SA is refused from then on. */
export interface Lifetime {
  readonly soft?: Limits;
  readonly hard?: Limits;
}

/** How far an SA's life has come (XFRM_MSG_EXPIRE of linux/xfrm.h says soft or hard). */
export type Stage = "valid" | "soft" | "hard";

/** The limits that the packet path itself keeps, to the packet. */
export const hardLimits = ({ hard }: Lifetime): HardLimits => ({
  packets: hard?.packets ?? Infinity,
  bytes: hard?.bytes ?? Infinity,
});

/**
 * How far an SA's life has come; one whose time is over is ended here, whatever thread uses it.
 * @param seconds since it was added
 */
export function stageOf({ soft, hard }: Lifetime, traffic: Traffic, seconds: number): Stage {
  if (hard?.seconds !== undefined && seconds >= hard.seconds) traffic.expire();
  if (traffic.expired || (hard !== undefined && isReached(hard, traffic, seconds))) return "hard";
  return soft !== undefined && isReached(soft, traffic, seconds) ? "soft" : "valid";
}

const isReached = ({ packets, bytes, seconds: age }: Limits, traffic: Traffic, seconds: number): boolean =>
  traffic.packets >= (packets ?? Infinity) ||
  traffic.bytes >= (bytes ?? Infinity) ||
  seconds >= (age ?? Infinity);
