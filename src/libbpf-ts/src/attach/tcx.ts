import { bpf } from "../bpf-syscall.js";
import { EINVAL, ENODEV, ENOENT, EOPNOTSUPP } from "../errno.js";
import { ArgumentError, MissingFeatureError } from "../errors.js";
import { failure } from "../fail.js";
import { native } from "../native.js";
import { getPinned, unpin } from "../pin.js";
import type { BpfProgram } from "../program.js";
import { BpfLink } from "./link.js";
import type { TcDirection, TcLink } from "./tc-link.js";

// linux/bpf.h: enum bpf_attach_type, bpf_link_type, bpf_prog_type and the flag of multi-program attachment.
const BPF_TCX_INGRESS = 46;
const BPF_TCX_EGRESS = 47;
const BPF_LINK_TYPE_TCX = 11;
const BPF_PROG_TYPE_SCHED_CLS = 3;
const BPF_LINK_CREATE = 28;
const BPF_F_BEFORE = 1 << 3;
const BPF_F_AFTER = 1 << 4;
const BPF_F_LINK = 1 << 13;
/** No device has it, so that a kernel with tcx answers ENODEV and one without EINVAL. */
const NO_IFINDEX = 0x7fffffff;

export interface TcxOptions {
  ifindex: number;
  direction: TcDirection;
  program: BpfProgram;
  /** Place among the programs at the hook; "last" if left out. */
  order?: TcxOrder;
}

/** First or last of all, or next to a program or link that is attached at the same hook. */
export type TcxOrder =
  | "first"
  | "last"
  | { readonly before: BpfProgram | BpfLink }
  | { readonly after: BpfProgram | BpfLink };

/** The fields of BPF_LINK_CREATE (union bpf_attr) up to tcx.expected_revision, which libbpf has from 1.3 on. */
function createTcx(program: BpfProgram, ifindex: number, attachType: number, order: TcxOrder): number {
  const attributes = Buffer.alloc(32);
  attributes.writeUInt32LE(program.fd, 0);
  attributes.writeUInt32LE(ifindex, 4);
  attributes.writeUInt32LE(attachType, 8);
  if (order === "first") attributes.writeUInt32LE(BPF_F_BEFORE, 12);
  if (typeof order === "object") {
    const [flag, next] = "before" in order ? [BPF_F_BEFORE, order.before] : [BPF_F_AFTER, order.after];
    attributes.writeUInt32LE(flag | (next instanceof BpfLink ? BPF_F_LINK : 0), 12);
    attributes.writeUInt32LE(next.fd, 16);
  }
  return bpf(BPF_LINK_CREATE, attributes);
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
  const fd = createTcx(program, ifindex, attachType(direction), order);
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
  if (-fd === ENOENT && typeof order === "object")
    throw failure(op, ENOENT, { hint: "what it is to stand next to is not attached at this hook" });
  throw failure(op, -fd);
}
