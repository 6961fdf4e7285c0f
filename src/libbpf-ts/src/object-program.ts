import type { FdSource } from "./descriptor.js";
import { StateError } from "./errors.js";
import { check } from "./fail.js";
import { native, type Pointer } from "./native.js";
import type { Handle } from "./object-map.js";
import { BpfProgram } from "./program.js";

class HandleFd implements FdSource {
  readonly #handle: Handle;
  readonly #name: string;
  constructor(handle: Handle, name: string) {
    this.#handle = handle;
    this.#name = name;
  }
  get fd(): number {
    const fd = native().programFd(this.#handle());
    if (fd >= 0) return fd;
    throw new StateError(
      `use program ${this.#name}`,
      "the kernel does not have it",
      "call load(), with autoload on",
    );
  }
  close(): void {
    // The object owns the descriptor and closes it.
  }
}

/** A program that an object defines. */
export class ObjectProgram extends BpfProgram {
  readonly #handle: Handle;
  readonly #name: string;
  /** ELF section, which tells libbpf the type ("tc", "xdp"). */
  readonly section: string;

  constructor(handle: Handle, name: string) {
    super(new HandleFd(handle, name));
    this.#handle = handle;
    this.#name = name;
    this.section = native().programSection(handle());
  }

  /** The C function's name, not cut to the kernel's 15 characters. */
  override get name(): string {
    return this.#name;
  }

  /** enum bpf_prog_type, from the section's name. */
  get type(): number {
    return native().programType(this.#handle());
  }

  /** enum bpf_attach_type, from the section's name. */
  get attachType(): number {
    return native().programAttachType(this.#handle());
  }

  /** libbpf's struct bpf_program. */
  get handle(): Pointer {
    return this.#handle();
  }

  /** Whether load() loads it; set it before. */
  get autoload(): boolean {
    return native().programAutoload(this.#handle());
  }

  set autoload(on: boolean) {
    const op = `set autoload of program ${this.#name}`;
    check(native().programSetAutoload(this.#handle(), on), op, "set it before load()");
  }

  /** BPF instructions in the object, before the verifier rewrites them; libbpf counts subprograms after load(). */
  get instructions(): number {
    return Number(native().programInstructions(this.#handle()));
  }
}
