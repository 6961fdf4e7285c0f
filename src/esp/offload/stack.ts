/** The stack's half of setting up offload: net/xfrm/xfrm_device.c. */
import type {
  AddResult,
  OffloadDevice,
  OffloadErrno,
  OffloadPolicy,
  OffloadState,
  OffloadStatistics,
  Operation,
  XfrmdevOps,
} from "./contract.js";

/** A kernel's major and minor version: its rules differ. */
export type KernelVersion = readonly [major: number, minor: number];

/** Last of the kernels that the project runs its selftests on before 6.16. */
export const DEFAULT_KERNEL: KernelVersion = [6, 12];

/** What became of the request that an SA be offloaded. */
export type Verdict =
  | { readonly kind: "offloaded"; readonly offload: OffloadedState }
  /** The SA is there, and the stack does its crypto: the kernel says so to nobody. */
  | { readonly kind: "software"; readonly reason: string }
  /** The SA cannot be added with offload: what RTM_NEWSA answers. */
  | { readonly kind: "refused"; readonly errno: OffloadErrno; readonly reason: string };

/** An SA that a device has, and the device's reference with it (struct xfrm_dev_offload). */
export interface OffloadedState {
  readonly device: OffloadDevice;
  readonly ops: XfrmdevOps;
  readonly handle: number;
  readonly state: OffloadState;
  /** Packet offload: the policy that goes with the SA. */
  readonly policy: number | null;
}

const atLeast = ([major, minor]: KernelVersion, [a, b]: KernelVersion): boolean =>
  major > a || (major === a && minor >= b);

const refused = (errno: OffloadErrno, reason: string): Verdict => ({ kind: "refused", errno, reason });

/** Which SAs are on which device. */
export class OffloadStack {
  readonly #kernel: KernelVersion;
  readonly #states = new Set<OffloadedState>();
  /** Deleted and not freed: packets on their way hold them. */
  readonly #deleted = new Set<OffloadedState>();

  constructor(kernel: KernelVersion = DEFAULT_KERNEL) {
    this.#kernel = kernel;
  }

  /** SAs that a device has now. */
  get states(): ReadonlySet<OffloadedState> {
    return this.#states;
  }

  /**
   * xfrm_dev_state_add, with xfrm_dev_policy_add before it for packet offload: there the device is given both, or
   * nothing.
   * @param device null: there is none of that name and the route to the peer leads through none either
   */
  add(state: OffloadState, device: OffloadDevice | null): Verdict {
    const rule = this.#refusedByStack(state);
    if (rule !== null) return rule;
    const packet = state.type === "packet";
    if (device === null) {
      return packet
        ? refused("EINVAL", "there is no such device, and packet offload never falls back")
        : { kind: "software", reason: "there is no such device" };
    }
    const { ops } = device;
    if (ops === null || !ops.operations.has("state_add")) {
      return packet
        ? refused("EINVAL", `${device.name} has no xfrmdev_ops`)
        : { kind: "software", reason: `${device.name} has no xfrmdev_ops: it cannot offload IPsec` };
    }
    if (!device.up) return refused("EINVAL", `${device.name} is down`);
    if (!packet && state.esn && !ops.operations.has("advance_esn"))
      return refused("EINVAL", "Device doesn't support offload with ESN");
    return this.#addTo(device, ops, state);
  }

  /** xfrm_dev_state_delete: the device is not to use the SA any more. Packets on their way may still hold it. */
  remove(offloaded: OffloadedState): void {
    if (!this.#states.delete(offloaded)) return;
    this.#deleted.add(offloaded);
    const { ops, handle, policy } = offloaded;
    ops.state_delete(handle);
    if (policy !== null) ops.policy_delete(policy);
  }

  /** xfrm_dev_state_free, once nothing refers to the SA. */
  free(offloaded: OffloadedState): void {
    const { device, ops, handle, policy } = offloaded;
    if (!this.#deleted.delete(offloaded)) return;
    if (ops.operations.has("state_free")) ops.state_free(handle);
    device.put();
    if (policy === null) return;
    if (ops.operations.has("policy_free")) ops.policy_free(policy);
    device.put();
  }

  /** xfrm_dev_state_flush, as at NETDEV_DOWN and NETDEV_UNREGISTER. @returns the SAs that were deleted */
  flush(device: OffloadDevice): OffloadedState[] {
    const deleted = [...this.#states].filter((each) => each.device === device);
    for (const each of deleted) {
      this.remove(each);
      this.free(each);
    }
    return deleted;
  }

  /** xfrm_dev_state_update_stats; null where the driver cannot tell. */
  statistics({ ops, handle }: OffloadedState): OffloadStatistics | null {
    return ops.operations.has("update_stats") ? ops.update_stats(handle) : null;
  }

  /** xfrm_dev_state_advance_esn */
  advanceEsn({ ops, handle }: OffloadedState, high: number): void {
    if (ops.operations.has("advance_esn")) ops.advance_esn(handle, high);
  }

  #refusedByStack({ direction, type, ifId, encapsulation, tfcpad }: OffloadState): Verdict | null {
    if (direction === "in" && ifId !== 0 && atLeast(this.#kernel, [6, 16]))
      return refused("EINVAL", "XFRM if_id is not supported in RX path");
    // Since 6.6 for packet offload ("xfrm: Support UDP encapsulation in packet offload mode"), since 6.11 for crypto.
    const encapsulates = atLeast(this.#kernel, type === "packet" ? [6, 6] : [6, 11]);
    if (encapsulation === "udp" && !encapsulates)
      return refused("EINVAL", "Encapsulation and TFC padding can't be offloaded");
    if (tfcpad > 0) return refused("EINVAL", "TFC padding can't be offloaded");
    return null;
  }

  #addTo(device: OffloadDevice, ops: XfrmdevOps, state: OffloadState): Verdict {
    let policy: number | null = null;
    if (state.type === "packet") {
      const added = addPolicy(ops, { ...pick(state), templates: 1 });
      if (!("handle" in added)) return refused(added.errno, added.extack);
      policy = added.handle;
    }
    const added = ops.state_add(state);
    if (!("handle" in added)) {
      if (policy !== null) {
        ops.policy_delete(policy);
        if (ops.operations.has("policy_free")) ops.policy_free(policy);
      }
      if (state.type === "crypto" && added.errno === "EOPNOTSUPP")
        return { kind: "software", reason: `${device.name}: ${added.extack} (EOPNOTSUPP)` };
      return refused(added.errno, added.extack);
    }
    const offload: OffloadedState = { device, ops, handle: added.handle, state, policy };
    this.#states.add(offload);
    device.hold();
    if (policy !== null) device.hold();
    return { kind: "offloaded", offload };
  }
}

const pick = ({ direction, reqid, ifId }: OffloadState) => ({ direction, reqid, ifId });

function addPolicy(ops: XfrmdevOps, policy: OffloadPolicy): AddResult {
  const needed: Operation = "policy_add";
  if (!ops.operations.has(needed)) return { errno: "EINVAL", extack: "Policy offload is not supported" };
  return ops.policy_add(policy);
}
