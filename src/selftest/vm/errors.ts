/**
 * - `unavailable`: no VM can be had here (no QEMU, no kernel, no mirror, no depmod): a selftest skips.
 * - `boot`: it was not up in time (see VmRun.up), in none of several boots.
 * - `hang`: the guest was up, and then said nothing for longer than it ever should.
 * - `limit`: the guest did not end within the time that it had in all.
 * - `crash`: the guest or QEMU ended before the guest's own work did.
 */
export type VmErrorKind = "unavailable" | "boot" | "hang" | "limit" | "crash";

/** Why there is no VM, or no result from one. The message says what to do next. */
export class VmError extends Error {
  readonly kind: VmErrorKind;
  /** The whole console of a VM that was started; the message has its end only. */
  readonly console: string;

  constructor(kind: VmErrorKind, message: string, options?: ErrorOptions & { console?: string }) {
    super(message, options);
    this.name = "VmError";
    this.kind = kind;
    this.console = options?.console ?? "";
  }
}
