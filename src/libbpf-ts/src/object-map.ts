import type { FdSource } from "./descriptor.js";
import { StateError } from "./errors.js";
import { checkLogged } from "./fail.js";
import { BpfMap } from "./map.js";
import type { MapShape } from "./map-shape.js";
import { native, type Pointer } from "./native.js";

/** Gives the C pointer of the object's map; throws ClosedError once the object is closed. */
export type Handle = () => Pointer;

class HandleFd implements FdSource {
  readonly #handle: Handle;
  readonly #name: string;
  constructor(handle: Handle, name: string) {
    this.#handle = handle;
    this.#name = name;
  }
  get fd(): number {
    const fd = native().mapFd(this.#handle());
    if (fd < 0)
      throw new StateError(
        `use map ${this.#name}`,
        "the kernel has it only after load()",
        "call load() first",
      );
    return fd;
  }
  close(): void {
    // The object owns the descriptor and closes it.
  }
}

/** A map that an object defines. Until load() its definition can still be changed. */
export class ObjectMap extends BpfMap {
  readonly #handle: Handle;
  readonly #name: string;
  #loaded = false;

  constructor(handle: Handle, name: string) {
    super(new HandleFd(handle, name));
    this.#handle = handle;
    this.#name = name;
  }

  /** The name in the C source, not cut to the kernel's 15 characters; a section's name for globals (".bss"). */
  override get name(): string {
    return this.#name;
  }

  /** Type and sizes as defined, and as created after load(). */
  override get shape(): MapShape {
    if (this.#loaded) return super.shape;
    const lib = native();
    const handle = this.#handle();
    if (lib.mapFd(handle) >= 0) {
      this.#loaded = true;
      return super.shape;
    }
    return {
      name: this.#name,
      type: lib.mapType(handle),
      keySize: lib.mapKeySize(handle),
      valueSize: lib.mapValueSize(handle),
      maxEntries: lib.mapMaxEntries(handle),
      flags: lib.mapFlags(handle),
    };
  }

  /** Sets the value's size in bytes, before load(). */
  setValueSize(bytes: number): void {
    checkLogged(
      () => native().mapSetValueSize(this.#handle(), bytes),
      `set the value size of map ${this.#name}`,
      BEFORE_LOAD,
    );
  }

  /** Sets the number of entries, before load(). */
  setMaxEntries(entries: number): void {
    checkLogged(
      () => native().mapSetMaxEntries(this.#handle(), entries),
      `set the entries of map ${this.#name}`,
      BEFORE_LOAD,
    );
  }

  /** Sets the flags (BPF_F_* of linux/bpf.h) that it is created with, before load(). */
  setFlags(flags: number): void {
    checkLogged(
      () => native().mapSetFlags(this.#handle(), flags),
      `set the flags of map ${this.#name}`,
      BEFORE_LOAD,
    );
  }

  /** Gives a map-in-map the shape of its inner maps, before load(). */
  setInnerMap(inner: BpfMap): void {
    checkLogged(
      () => native().mapSetInnerFd(this.#handle(), inner.fd),
      `set the inner map of map ${this.#name}`,
      BEFORE_LOAD,
    );
  }

  /**
   * Makes load() take an existing map instead of creating one. libbpf duplicates the descriptor: `existing` may
   * be closed afterwards. Type, sizes and flags have to be the same.
   */
  reuse(existing: BpfMap): void {
    checkLogged(
      () => native().mapReuseFd(this.#handle(), existing.fd),
      `reuse a map as ${this.#name}`,
      BEFORE_LOAD,
    );
  }

  /** Makes load() take the map pinned at `path`, or create it and pin it there. */
  setPinPath(path: string): void {
    checkLogged(() => native().mapSetPinPath(this.#handle(), path), `set the pin path of map ${this.#name}`);
  }
}

const BEFORE_LOAD = "it can be changed only before load()";
