import type { HardLimits } from "./statistics.js";

/** How much and how long an SA is used (RFC 4301 section 4.4.2.1); what is left out has no limit. */
export interface Limits {
  readonly packets?: number;
  /** Of inner packets. */
  readonly bytes?: number;
  /** Seconds since the SA was added. */
  readonly seconds?: number;
}

/** At a soft limit an event asks for a new SA; at a hard one the SA is refused from then on. */
export interface Lifetime {
  readonly soft?: Limits;
  readonly hard?: Limits;
}

/** The limits that the worker itself keeps, to the packet. */
export const hardLimits = ({ hard }: Lifetime): HardLimits => ({
  packets: hard?.packets ?? Infinity,
  bytes: hard?.bytes ?? Infinity,
});
