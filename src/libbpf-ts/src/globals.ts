import type { Btf, BtfVariable } from "./btf.js";
import { ArgumentError, StateError, UnknownNameError } from "./errors.js";
import { copyOut, memcpy } from "./libc.js";
import type { Pointer } from "./native.js";
import { decodeScalar, encodeScalar, type Scalar } from "./scalar.js";
import type { Memory } from "./section-memory.js";

/** What a global variable can be set to: a scalar by value, anything else by its bytes. */
export type GlobalValue = Scalar | ArrayBufferView;

/** How Globals reach the object they belong to. */
export interface GlobalsOwner {
  /** @throws ClosedError */
  btf(): Btf | undefined;
  /** @throws ClosedError */
  isLoaded(): boolean;
  /** Where a section's variables lie now. @throws ClosedError */
  memory(section: string): Memory | undefined;
}

interface Place extends BtfVariable {
  readonly section: string;
}

/**
 * Global variables of one kind of section, by name: `rodata` for `const volatile` ones (".rodata", ".rodata.x"),
 * `data` for initialised and `bss` for zeroed ones. After load() the latter two are mapped into memory: get() and
 * set() go to the running program's variables without a system call.
 */
export class Globals {
  readonly #owner: GlobalsOwner;
  readonly #section: string;
  #places: Map<string, Place> | undefined;

  constructor(owner: GlobalsOwner, section: string) {
    this.#owner = owner;
    this.#section = section;
  }

  names(): string[] {
    return [...this.#variables().keys()];
  }

  has(name: string): boolean {
    return this.#variables().has(name);
  }

  /**
   * Sets a variable. A constant of .rodata can be set only before load(): from then on the verifier has taken
   * it for true and removed the branches that it rules out.
   * @throws UnknownNameError, ArgumentError (does not fit), StateError (after load)
   */
  set(name: string, value: GlobalValue): void {
    const op = `set ${name} in ${this.#section}`;
    if (this.#section === ".rodata" && this.#owner.isLoaded()) {
      throw new StateError(op, "the object is loaded, and its constants are frozen", "set it before load()");
    }
    const { place, address } = this.#locate(op, name);
    const bytes = ArrayBuffer.isView(value) ? value : encodeScalar(this.#btf(op), place, value, op);
    if (bytes.byteLength !== place.size) {
      throw new ArgumentError(op, `${bytes.byteLength} bytes`, `${place.type} has ${place.size}`);
    }
    memcpy(address, bytes, bytes.byteLength);
  }

  /** A variable's value: scalars as number, 8-byte ones as bigint, bool as boolean, anything else as bytes. */
  get(name: string): Scalar | Buffer {
    const op = `get ${name} of ${this.#section}`;
    const { place, address } = this.#locate(op, name);
    const bytes = copyOut(address, place.size);
    return decodeScalar(this.#btf(op), place, bytes) ?? bytes;
  }

  /** A copy of a variable's bytes, whatever its type. */
  bytes(name: string): Buffer {
    const { place, address } = this.#locate(`get ${name} of ${this.#section}`, name);
    return copyOut(address, place.size);
  }

  #btf(op: string): Btf {
    const btf = this.#owner.btf();
    if (btf === undefined) throw new ArgumentError(op, "the object has no BTF", "compile it with -g");
    return btf;
  }

  #variables(): Map<string, Place> {
    if (this.#places === undefined) {
      const btf = this.#btf(`read the variables of ${this.#section}`);
      const sections = btf
        .datasecs()
        .filter((name) => name === this.#section || name.startsWith(`${this.#section}.`));
      this.#places = new Map(
        sections.flatMap((section) =>
          btf.datasec(section).variables.map((place) => [place.name, { ...place, section }] as const),
        ),
      );
    }
    return this.#places;
  }

  #locate(op: string, name: string): { place: Place; address: Pointer } {
    const variables = this.#variables();
    const place = variables.get(name);
    if (place === undefined) {
      throw new UnknownNameError(op, `variable in ${this.#section}`, name, variables.keys());
    }
    const memory = this.#owner.memory(place.section);
    if (memory === undefined || place.offset + place.size > memory.size) {
      throw new ArgumentError(op, `libbpf holds no memory for section ${place.section}`);
    }
    return { place, address: memory.start + BigInt(place.offset) };
  }
}
