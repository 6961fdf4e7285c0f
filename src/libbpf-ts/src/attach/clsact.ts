import { EEXIST, EINVAL, ENODEV, ENOENT } from "../errno.js";
import { ClosedError, MissingFeatureError } from "../errors.js";
import { failure } from "../fail.js";
import { withLibbpfLog } from "../libbpf-log.js";
import { native, optsSize, type TcOpts } from "../native.js";
import type { BpfProgram } from "../program.js";
import type { TcDirection, TcLink } from "./tc-link.js";

// bpf/libbpf.h: enum bpf_tc_attach_point, enum bpf_tc_flags.
const BPF_TC_INGRESS = 1;
const BPF_TC_EGRESS = 2;
const BPF_TC_F_REPLACE = 1;

/** Place of a filter at a device's hook; priority and handle name it, and a lower priority runs first. */
export interface ClsactPlace {
  ifindex: number;
  direction: TcDirection;
  /** 1 to 65535; 1 if left out. */
  priority?: number;
  /** 1 if left out. */
  handle?: number;
}

export interface ClsactOptions extends ClsactPlace {
  program: BpfProgram;
}

function hookOf(ifindex: number, points: number) {
  return { sz: optsSize.tcHook, ifindex, attach_point: points, parent: 0, padding: 0 };
}

function pointOf(direction: TcDirection): number {
  return direction === "ingress" ? BPF_TC_INGRESS : BPF_TC_EGRESS;
}

function optsOf(place: { priority: number; handle: number }, more: Partial<TcOpts> = {}): TcOpts {
  const { priority, handle } = place;
  return { sz: optsSize.tcOpts, prog_fd: 0, flags: 0, prog_id: 0, handle, priority, padding: 0, ...more };
}

/** libbpf prints the kernel's netlink messages as warnings; they become part of the error. */
function run(work: () => number): { errno: number; log: string } {
  const { result, log } = withLibbpfLog(work);
  return { errno: -result, log };
}

/**
 * A direct-action cls_bpf filter at the clsact qdisc: what tc has had since Linux 4.5. Unlike a link, a filter
 * belongs to the device and not to a process.
 */
export class ClsactFilter implements TcLink {
  readonly kind = "clsact";
  readonly ifindex: number;
  readonly direction: TcDirection;
  readonly priority: number;
  readonly handle: number;
  #persisted: boolean;
  #closed = false;

  constructor(place: Required<ClsactPlace>, persisted: boolean) {
    this.ifindex = place.ifindex;
    this.direction = place.direction;
    this.priority = place.priority;
    this.handle = place.handle;
    this.#persisted = persisted;
  }

  programId(): number {
    const op = this.#demandOpen("query");
    const opts = optsOf(this);
    const { errno, log } = run(() => native().tcQuery(hookOf(this.ifindex, pointOf(this.direction)), opts));
    if (errno > 0) throw failure(op, errno, { log });
    return opts.prog_id;
  }

  update(program: BpfProgram): void {
    const op = this.#demandOpen("update");
    const opts = optsOf(this, { prog_fd: program.fd, flags: BPF_TC_F_REPLACE });
    const { errno, log } = run(() => native().tcAttach(hookOf(this.ifindex, pointOf(this.direction)), opts));
    if (errno > 0) throw failure(op, errno, { log });
  }

  persist(): void {
    this.#demandOpen("persist");
    this.#persisted = true;
  }

  /** Removes the filter. The clsact qdisc stays, as others may use it; removeClsact() takes it away. */
  detach(): void {
    const op = this.#demandOpen("detach");
    const { errno, log } = run(() =>
      native().tcDetach(hookOf(this.ifindex, pointOf(this.direction)), optsOf(this)),
    );
    this.#closed = true;
    // The filter goes with its device or qdisc; gone is what was asked for.
    if (errno > 0 && errno !== ENOENT && errno !== ENODEV && errno !== EINVAL)
      throw failure(op, errno, { log });
  }

  close(): void {
    if (this.#closed) return;
    if (this.#persisted) this.#closed = true;
    else this.detach();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #demandOpen(verb: string): string {
    const what = `clsact filter at ifindex ${this.ifindex} ${this.direction}`;
    if (this.#closed) throw new ClosedError(verb, what);
    return `${verb} ${what}`;
  }
}

/**
 * Attaches a tc program as a cls_bpf filter, creating the clsact qdisc where the device has none.
 * @throws MissingFeatureError without CONFIG_NET_SCH_INGRESS or CONFIG_NET_CLS_BPF; BpfError EEXIST where a filter
 * has that priority and handle already
 */
export function attachClsact(options: ClsactOptions): ClsactFilter {
  const { program, ifindex, direction, priority = 1, handle = 1 } = options;
  const op = `attach program ${program.name} to ifindex ${ifindex} ${direction} by clsact`;
  const created = run(() => native().tcHookCreate(hookOf(ifindex, BPF_TC_INGRESS | BPF_TC_EGRESS)));
  if (created.errno > 0 && created.errno !== EEXIST)
    throw explain(op, created, "clsact qdisc (CONFIG_NET_SCH_INGRESS)");
  const opts = optsOf({ priority, handle }, { prog_fd: program.fd });
  const attached = run(() => native().tcAttach(hookOf(ifindex, pointOf(direction)), opts));
  if (attached.errno > 0) throw explain(op, attached, "cls_bpf classifier (CONFIG_NET_CLS_BPF)");
  return new ClsactFilter({ ifindex, direction, priority, handle }, false);
}

function explain(op: string, { errno, log }: { errno: number; log: string }, feature: string): Error {
  // The kernel answers ENOENT to an unknown qdisc or classifier kind (net/sched/sch_api.c, cls_api.c).
  if (errno === ENOENT) return new MissingFeatureError(op, feature, undefined, { errno, log });
  if (errno === ENODEV) return failure(op, errno, { log, hint: "no such device in this network namespace" });
  if (errno === EEXIST) {
    const hint = "a filter has that priority and handle: choose another, or findClsact() and update() it";
    return failure(op, errno, { log, hint });
  }
  return failure(op, errno, { log });
}

/** The filter at that place, or undefined where there is none. Closing what was found leaves the filter. */
export function findClsact({
  ifindex,
  direction,
  priority = 1,
  handle = 1,
}: ClsactPlace): ClsactFilter | undefined {
  const opts = optsOf({ priority, handle });
  const { errno } = run(() => native().tcQuery(hookOf(ifindex, pointOf(direction)), opts));
  if (errno > 0) return undefined;
  return new ClsactFilter({ ifindex, direction, priority, handle }, true);
}

/** Removes the clsact qdisc with all filters at it, other people's too. */
export function removeClsact(ifindex: number): void {
  const { errno, log } = run(() => native().tcHookDestroy(hookOf(ifindex, BPF_TC_INGRESS | BPF_TC_EGRESS)));
  if (errno > 0 && errno !== ENOENT && errno !== EINVAL)
    throw failure(`remove clsact of ifindex ${ifindex}`, errno, { log });
}
