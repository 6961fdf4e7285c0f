import type { Device } from "../kernel/device.js";
import type { IfIdRecord } from "../kernel/if-ids.js";
import type { ResolvedDevices } from "../kernel/resolved-devices.js";
import type { PolicySummary } from "../kernel/summary.js";

/** What is kept of an interface. Its routes are not: the kernel has them, marked as ours. */
export interface State {
  readonly device: Device;
  /** Addresses that an apply added, or was about to add. */
  readonly addresses: readonly string[];
  /** The policy that was applied last; null until the first one is. */
  readonly running: {
    readonly number: number;
    /** ISO 8601. */
    readonly applied: string;
    readonly summary: PolicySummary;
    readonly devices: ResolvedDevices;
    /** Left out by a version that kept none. */
    readonly ifIds?: IfIdRecord;
  } | null;
}
