import { type FdSource, OwnedFd } from "../descriptor.js";
import { EINVAL } from "../errno.js";
import { ArgumentError } from "../errors.js";
import { check, failure } from "../fail.js";
import { readInfo } from "../info.js";
import { native, optsSize } from "../native.js";
import { getPinned, pinFd } from "../pin.js";
import type { BpfProgram } from "../program.js";

/** What the kernel says about a link (struct bpf_link_info). */
export interface LinkInfo {
  readonly id: number;
  /** enum bpf_link_type (linux/bpf.h). */
  readonly type: number;
  /** Id of the program that it runs. */
  readonly programId: number;
  /** What follows in the struct: 8 bytes that depend on the type. */
  readonly detail: readonly [number, number];
}

/** struct bpf_link_info up to the first two words of its union. */
const INFO_BYTES = 24;

/** An attachment that the kernel holds as an object of its own. It ends with its last descriptor and pin. */
export class BpfLink implements Disposable {
  readonly #source: FdSource;

  /** @param source the link's descriptor, which the link closes from now on */
  constructor(source: number | FdSource, what = "link") {
    this.#source = typeof source === "number" ? new OwnedFd(source, what) : source;
  }

  /** Opens a link pinned on bpffs. */
  static openPinned(path: string): BpfLink {
    return new BpfLink(getPinned(path, "link"), `link ${path}`);
  }

  get fd(): number {
    return this.#source.fd;
  }

  info(): LinkInfo {
    const info = readInfo(this.fd, INFO_BYTES, "a link");
    return {
      type: info.readUInt32LE(0),
      id: info.readUInt32LE(4),
      programId: info.readUInt32LE(8),
      detail: [info.readUInt32LE(16), info.readUInt32LE(20)],
    };
  }

  /** Puts another program in place of the current one in one step; no packet sees neither. */
  update(program: BpfProgram): void {
    const code = native().linkUpdate(this.fd, program.fd, null);
    if (code >= 0) return;
    const hint = -code === EINVAL ? "the new program must have the type of the old one" : undefined;
    throw failure("update a link", -code, hint === undefined ? {} : { hint });
  }

  pin(path: string): void {
    pinFd(this.fd, path, "link");
  }

  /** Ends the attachment now, though descriptors and pins remain. */
  detach(): void {
    check(native().linkDetach(this.fd), "detach a link");
  }

  /** Closes the descriptor; an unpinned link ends with its last one. Idempotent. */
  close(): void {
    this.#source.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

/**
 * Makes a link and, where the kernel refuses, the error that says why. The feature is probed only then.
 * @param wanted the program type and section that this kind of link takes
 */
export function createLink(request: {
  op: string;
  what: string;
  program: BpfProgram;
  target: number;
  attachType: number;
  flags?: number;
  wanted: { type: number; section: string };
  hints?: Readonly<Record<number, string>>;
}): BpfLink {
  const { op, what, program, target, attachType, flags = 0, wanted, hints = {} } = request;
  const opts = flags === 0 ? null : { sz: optsSize.linkCreate, flags, padding: 0 };
  const fd = native().linkCreate(program.fd, target, attachType, opts);
  if (fd >= 0) return new BpfLink(fd, what);
  const { type, typeName } = program.info();
  if (type !== wanted.type)
    throw new ArgumentError(op, `it is a ${typeName} program`, `make it SEC("${wanted.section}")`);
  const hint = hints[-fd];
  throw failure(op, -fd, hint === undefined ? {} : { hint });
}
