import { readFileSync } from "node:fs";
import type { FdSource } from "../descriptor.js";
import { ENOENT, EOPNOTSUPP } from "../errno.js";
import { ArgumentError, ClosedError, MissingFeatureError } from "../errors.js";
import { check, failure } from "../fail.js";
import { withLibbpfLog } from "../libbpf-log.js";
import { closeFd, lastErrno } from "../libc.js";
import { native, type Pointer } from "../native.js";
import type { ObjectProgram } from "../object-program.js";
import { BpfLink } from "./link.js";

/** A link that libbpf made: some kinds are more than one descriptor, so libbpf takes them down. */
class LibbpfLink implements FdSource {
  #handle: Pointer | null;
  readonly #what: string;

  constructor(handle: Pointer, what: string) {
    this.#handle = handle;
    this.#what = what;
  }

  get fd(): number {
    if (this.#handle === null) throw new ClosedError("use a descriptor", this.#what);
    return native().linkHandleFd(this.#handle);
  }

  close(): void {
    if (this.#handle === null) return;
    const handle = this.#handle;
    this.#handle = null;
    withLibbpfLog(() => native().linkDestroy(handle));
  }
}

/**
 * Attaches a program to what its section names (bpf_program__attach): "fentry/FUNCTION", "raw_tp/NAME",
 * "tp_btf/NAME", "tp/GROUP/NAME", "kprobe/FUNCTION", "uprobe/PATH:FUNCTION", "lsm/HOOK", "iter/KIND".
 * @throws MissingFeatureError where the kernel lacks the tracepoint or function; ArgumentError for a section such as
 * "tc", which names a kind of hook but no place
 */
export function attach(program: ObjectProgram): BpfLink {
  const op = `attach program ${program.name} (${program.section})`;
  void program.fd; // throws where the program is not loaded
  const { handle } = program;
  const { result, log } = withLibbpfLog(() => native().programAttach(handle) ?? -lastErrno());
  if (typeof result !== "number") return new BpfLink(new LibbpfLink(result, `link of ${program.name}`));
  const errno = -result;
  if (errno === EOPNOTSUPP) {
    const hint = "take attachTc(), attachXdp(), attachCgroup() or attachNetns(), which are told the place";
    throw new ArgumentError(op, "its section does not say where", hint);
  }
  if (errno === ENOENT) {
    throw new MissingFeatureError(op, program.section, undefined, {
      errno,
      log,
      hint: "look for the name in the kernel's BTF or under /sys/kernel/tracing/events, which has to be mounted",
    });
  }
  throw failure(op, errno, { log });
}

/** Runs an attached "iter/..." program once and gives what it wrote (Linux 5.8). */
export function readIterator(link: BpfLink): Buffer {
  const fd = check(native().iteratorCreate(link.fd), "run an iterator");
  try {
    return readFileSync(fd);
  } finally {
    closeFd(fd);
  }
}
