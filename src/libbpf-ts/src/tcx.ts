import { EINVAL, ENODEV, EOPNOTSUPP } from "./errno.js";
import { ArgumentError, MissingFeatureError } from "./errors.js";
import { failure } from "./fail.js";
import { BpfLink } from "./link.js";
import { native, optsSize } from "./native.js";
import { getPinned, unpin } from "./pin.js";
import type { BpfProgram } from "./program.js";
import type { TcDirection, TcLink } from "./tc-link.js";

// linux/bpf.h: enum bpf_attach_type, bpf_link_type, bpf_prog_type and the flag of multi-program attachment.
const BPF_TCX_INGRESS = 46;
const BPF_TCX_EGRESS = 47;
const BPF_LINK_TYPE_TCX = 11;
const BPF_PROG_TYPE_SCHED_CLS = 3;
const BPF_F_BEFORE = 1 << 3;
/** No device has it, so that a kernel with tcx answers ENODEV and one without EINVAL. */
const NO_IFINDEX = 0x7fffffff;

export interface TcxOptions {
  ifindex: number;
  direction: TcDirection;
  program: BpfProgram;
  /** Place among the programs at the hook; "last" if left out. */
  order?: "first" | "last";
}

/** A tcx link (Linux 6.6). In a tcx program TCX_NEXT (-1) hands on to the next one; 0 ends the chain. */
export class TcxLink extends BpfLink implements TcLink {
  readonly kind = "tcx";
  readonly ifindex: number;
  readonly direction: TcDirection;
  #pin: string | undefined;

  constructor(fd: number, ifindex: number, direction: TcDirection, pin?: string) {
    super(fd, `tcx link at ifindex ${ifindex} ${direction}`);
    this.ifindex = ifindex;
    this.direction = direction;
    this.#pin = pin;
  }

  /** Opens a pinned tcx link. A link whose device is gone says ifindex 0. */
  static override openPinned(path: string): TcxLink {
    const link = new BpfLink(getPinned(path, "link"), `link ${path}`);
    const { type, detail } = link.info();
    if (type !== BPF_LINK_TYPE_TCX) {
      link.close();
      const found = `it is a ${native().linkTypeName(type) ?? `type ${type}`} link`;
      throw new ArgumentError(`open pinned tcx link ${path}`, found);
    }
    return new TcxLink(link.fd, detail[0], detail[1] === BPF_TCX_EGRESS ? "egress" : "ingress", path);
  }

  programId(): number {
    return this.info().programId;
  }

  persist(path: string): void {
    this.pin(path);
    this.#pin = path;
  }

  override detach(): void {
    super.detach();
    if (this.#pin !== undefined) unpin(this.#pin);
    this.close();
  }
}

function attachType(direction: TcDirection): number {
  return direction === "ingress" ? BPF_TCX_INGRESS : BPF_TCX_EGRESS;
}

/** Whether the kernel has tcx, found out with a program that is to be attached. */
function hasTcx(program: BpfProgram): boolean {
  return -native().linkCreate(program.fd, NO_IFINDEX, BPF_TCX_INGRESS, null) === ENODEV;
}

/**
 * Attaches a tc program by a tcx link, in the network namespace of the calling thread.
 * @throws MissingFeatureError before Linux 6.6
 */
export function attachTcx({ ifindex, direction, program, order = "last" }: TcxOptions): TcxLink {
  const opts = order === "first" ? { sz: optsSize.linkCreate, flags: BPF_F_BEFORE, padding: 0 } : null;
  const fd = native().linkCreate(program.fd, ifindex, attachType(direction), opts);
  if (fd >= 0) return new TcxLink(fd, ifindex, direction);
  const op = `attach program ${program.name} to ifindex ${ifindex} ${direction} by tcx`;
  const { type, typeName } = program.info();
  if (type !== BPF_PROG_TYPE_SCHED_CLS) {
    throw new ArgumentError(op, `it is a ${typeName} program`, 'make it a tc program: SEC("tc")');
  }
  if ((-fd === EINVAL || -fd === EOPNOTSUPP) && !hasTcx(program)) {
    throw new MissingFeatureError(op, "tcx", "6.6", { errno: -fd });
  }
  if (-fd === ENODEV) throw failure(op, ENODEV, { hint: "no such device in this network namespace" });
  throw failure(op, -fd);
}
