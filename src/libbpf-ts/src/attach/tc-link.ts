import type { BpfProgram } from "../program.js";

export type TcDirection = "ingress" | "egress";

/**
 * A tc program attached to a network device, whichever mechanism holds it. With clsact every method talks to the
 * network namespace of the calling thread, which has to be the device's; a tcx link is tied to none.
 */
export interface TcLink extends Disposable {
  readonly kind: "tcx" | "clsact";
  readonly ifindex: number;
  readonly direction: TcDirection;
  /** Kernel id of the program attached now. */
  programId(): number;
  /** Replaces the program in one step; every packet meets the old or the new one. */
  update(program: BpfProgram): void;
  /**
   * Makes the attachment outlive this process. A tcx link is pinned at `path` (on bpffs); a clsact filter stays
   * without a pin. findTc() finds either again.
   */
  persist(path: string): void;
  /** Ends the attachment, persisted or not; a pin made by persist() is removed. */
  detach(): void;
  /** Lets go of it: an attachment that was not persisted ends. Idempotent. */
  close(): void;
}
