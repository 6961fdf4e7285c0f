import { type FdSource, OwnedFd } from "./descriptor.js";
import { check } from "./fail.js";
import { readInfo, readName } from "./info.js";
import { native } from "./native.js";
import { getPinned, pinFd } from "./pin.js";
import { type TestRunOptions, type TestRunResult, testRun } from "./test-run.js";

/** What the kernel says about a loaded program (struct bpf_prog_info). */
export interface ProgramInfo {
  readonly id: number;
  readonly name: string;
  /** enum bpf_prog_type (linux/bpf.h). */
  readonly type: number;
  /** The type as libbpf and bpftool print it ("sched_cls"). */
  readonly typeName: string;
  /** SHA of the instructions, 16 hex digits. */
  readonly tag: string;
  /** BPF instructions after the verifier's rewriting. */
  readonly xlatedInstructions: number;
  /** Bytes of machine code; 0 where the JIT is off. */
  readonly jitedBytes: number;
  /** Instructions the verifier walked (Linux 5.16; 0 before). */
  readonly verifiedInstructions: number;
  /** ns spent and runs made, while kernel.bpf_stats_enabled is on. */
  readonly runTimeNs: bigint;
  readonly runCount: bigint;
}

/** struct bpf_prog_info up to verified_insns. */
const INFO_BYTES = 224;
const INSN_BYTES = 8;

/** A program loaded into the kernel, held by a descriptor. */
export class BpfProgram implements Disposable {
  readonly #source: FdSource;

  protected constructor(source: FdSource) {
    this.#source = source;
  }

  /** Opens a program pinned on bpffs. */
  static openPinned(path: string): BpfProgram {
    return new BpfProgram(new OwnedFd(getPinned(path, "program"), `program ${path}`));
  }

  /** Opens a program by the kernel's id. Needs CAP_SYS_ADMIN. */
  static fromId(id: number): BpfProgram {
    const fd = check(native().programFdById(id), `open program id ${id}`);
    return new BpfProgram(new OwnedFd(fd, `program id ${id}`));
  }

  /** The descriptor; stays the program's own. */
  get fd(): number {
    return this.#source.fd;
  }

  get name(): string {
    return this.info().name;
  }

  info(): ProgramInfo {
    const info = readInfo(this.fd, INFO_BYTES, "a program");
    const type = info.readUInt32LE(0);
    return {
      type,
      typeName: native().programTypeName(type) ?? `type ${type}`,
      id: info.readUInt32LE(4),
      tag: info.toString("hex", 8, 16),
      jitedBytes: info.readUInt32LE(16),
      xlatedInstructions: info.readUInt32LE(20) / INSN_BYTES,
      name: readName(info, 64, 16),
      runTimeNs: info.readBigUInt64LE(192),
      runCount: info.readBigUInt64LE(200),
      verifiedInstructions: info.readUInt32LE(216),
    };
  }

  /** Runs the program on given data without attaching it (BPF_PROG_TEST_RUN). */
  testRun(options: TestRunOptions): TestRunResult {
    return testRun(this, options);
  }

  pin(path: string): void {
    pinFd(this.fd, path, `program ${this.name}`);
  }

  /** Closes the descriptor; a program of an object stays open until its object is closed. Idempotent. */
  close(): void {
    this.#source.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }
}
