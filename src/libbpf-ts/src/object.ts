import { Btf } from "./btf.js";
import { checkBtf } from "./btf-check.js";
import { Elf, type ElfSection } from "./elf.js";
import { ClosedError, StateError, UnknownNameError } from "./errors.js";
import { Globals } from "./globals.js";
import { lastWords, withLibbpfLog } from "./libbpf-log.js";
import { copyOut, lastErrno } from "./libc.js";
import { native, optsSize, type Pointer } from "./native.js";
import { loadFailure, openFailure } from "./object-failure.js";
import { objectName, readObject } from "./object-file.js";
import { ObjectMap } from "./object-map.js";
import { ObjectProgram } from "./object-program.js";
import { replaceSections } from "./replace-sections.js";
import { type Memory, SectionMemory } from "./section-memory.js";

export interface OpenOptions {
  /** Names the object; the kernel's names of its global sections begin with it. Default: the file's name. */
  name?: string;
  /** BTF of the kernel for CO-RE, in place of /sys/kernel/btf/vmlinux. */
  btfPath?: string;
  /** Folder for maps that their definition says to pin; default /sys/fs/bpf. */
  pinRoot?: string;
  /**
   * Contents of sections of globals (".rodata.NAME", ".data.NAME"), of any size, in place of the file's. So a table whose size is
   * known only now has a constant address in the program, where the value of a map has to be looked up.
   */
  sections?: ReadonlyMap<string, Uint8Array>;
}

const SECTIONS = [".rodata", ".data", ".bss", ".kconfig"];

/**
 * A BPF object file: open() reads it, load() gives its maps and programs to the kernel, close() lets go of them.
 * What is pinned or attached by a pinned link outlives it. `using object = BpfObject.open(...)` closes it.
 */
export class BpfObject implements Disposable {
  readonly name: string;
  /** All maps by name; sections of globals by theirs (".bss"). */
  readonly maps: ReadonlyMap<string, ObjectMap>;
  readonly programs: ReadonlyMap<string, ObjectProgram>;
  /** Sections of the ELF file. */
  readonly sections: readonly ElfSection[];
  /** `const volatile` globals, to be set before load(). */
  readonly rodata: Globals;
  readonly data: Globals;
  readonly bss: Globals;
  #btf: Btf | null | undefined;
  readonly #mapPointers: ReadonlyMap<string, Pointer>;
  readonly #memory = new SectionMemory();
  /** For the error of a load that fails; not kept longer. */
  #bytes: Uint8Array | undefined;
  #handle: Pointer | null;
  #state: "open" | "loaded" | "failed" = "open";

  private constructor(name: string, handle: Pointer, elf: Elf, bytes: Uint8Array) {
    this.name = name;
    this.sections = elf.sections;
    this.#bytes = bytes;
    this.#handle = handle;
    const lib = native();
    this.#mapPointers = new Map(walk(lib.nextMap, handle).map((map) => [mapName(map), map]));
    this.maps = new Map(
      [...this.#mapPointers].map(([name, map]) => [
        name,
        new ObjectMap(() => this.#part(`map ${name}`, map), name),
      ]),
    );
    this.programs = new Map(
      walk(lib.nextProgram, handle).map((program) => {
        const name = lib.programName(program);
        return [name, new ObjectProgram(() => this.#part(`program ${name}`, program), name)];
      }),
    );
    const owner = {
      btf: () => this.btf,
      isLoaded: () => {
        this.#open("use globals");
        return this.loaded;
      },
      memory: (section: string) => this.#memoryOf(section),
    };
    this.rodata = new Globals(owner, ".rodata");
    this.data = new Globals(owner, ".data");
    this.bss = new Globals(owner, ".bss");
  }

  /**
   * Reads an object from a file or from memory; nothing reaches the kernel yet.
   * @throws BpfError (the file cannot be read), InvalidObjectError, MissingLibraryError
   */
  static open(source: string | Uint8Array, options: OpenOptions = {}): BpfObject {
    const name = options.name ?? (typeof source === "string" ? objectName(source) : "object");
    const op = typeof source === "string" ? `open BPF object ${source}` : `open BPF object ${name}`;
    const file = typeof source === "string" ? readObject(source, op) : source;
    // libbpf and libelf are not made for broken files.
    const elf = new Elf(file);
    const btf = elf.section(".BTF");
    if (btf !== undefined) checkBtf(elf.bytesOf(btf));
    const bytes = options.sections ? replaceSections(elf, file, options.sections) : file;
    const opts = {
      sz: optsSize.open,
      object_name: name,
      relaxed_maps: false,
      pin_root_path: options.pinRoot ?? null,
      reserved: 0,
      kconfig: null,
      btf_custom_path: options.btfPath ?? null,
      kernel_log_buf: null,
      kernel_log_size: 0,
      kernel_log_level: 0,
      padding: 0,
    };
    const open = (): Pointer | number => native().objectOpen(bytes, bytes.byteLength, opts) ?? lastErrno();
    const { result, log } = withLibbpfLog(open);
    if (typeof result === "number") throw openFailure(op, result, log || lastWords(open));
    return new BpfObject(name, result, elf, bytes);
  }

  /** Types of the object, with its variables placed; undefined if it was compiled without -g. */
  get btf(): Btf | undefined {
    if (this.#btf === undefined) this.#btf = readBtf(this.#open("read BTF")) ?? null;
    return this.#btf ?? undefined;
  }

  get loaded(): boolean {
    return this.#state === "loaded";
  }

  /** @throws UnknownNameError */
  map(name: string): ObjectMap {
    const map = this.maps.get(name);
    if (map === undefined)
      throw new UnknownNameError(`use object ${this.name}`, "map", name, this.maps.keys());
    return map;
  }

  /** @throws UnknownNameError */
  program(name: string): ObjectProgram {
    const program = this.programs.get(name);
    if (program !== undefined) return program;
    throw new UnknownNameError(`use object ${this.name}`, "program", name, this.programs.keys());
  }

  /**
   * Creates the maps and loads the programs. After a failure the object can only be closed.
   * @throws VerifierError, MissingFeatureError, MissingRightsError, MissingBtfError, BpfError
   */
  load(): this {
    const op = `load BPF object ${this.name}`;
    const handle = this.#open(op);
    if (this.#state === "loaded") throw new StateError(op, "it is loaded already");
    if (this.#state === "failed") throw new StateError(op, "an earlier load() failed", "open it again");
    this.#state = "failed";
    const bytes = this.#bytes as Uint8Array;
    this.#bytes = undefined;
    const { result, log } = withLibbpfLog(() => native().objectLoad(handle));
    if (result < 0) {
      throw loadFailure(op, -result, log, {
        bytes,
        mapType: (name) => this.maps.get(name)?.shape.type,
        programType: (name) => this.programs.get(name)?.type,
      });
    }
    this.#state = "loaded";
    return this;
  }

  get closed(): boolean {
    return this.#handle === null;
  }

  /** Frees the object; its maps and programs throw ClosedError from then on. Idempotent. */
  close(): void {
    if (this.#handle === null) return;
    const handle = this.#handle;
    this.#handle = null;
    this.#memory.unmap();
    withLibbpfLog(() => native().objectClose(handle));
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #memoryOf(section: string): Memory | undefined {
    this.#open(`use section ${section}`);
    const map = this.#mapPointers.get(section);
    if (map === undefined) return undefined;
    return this.loaded && !section.startsWith(".rodata") ? this.#memory.live(map) : this.#memory.initial(map);
  }

  #open(op: string): Pointer {
    if (this.#handle === null) throw new ClosedError(op, `object ${this.name}`);
    return this.#handle;
  }

  #part(what: string, pointer: Pointer): Pointer {
    this.#open(`use ${what}`);
    return pointer;
  }
}

/** A C iteration that starts and ends with NULL. */
function walk(
  next: (object: Pointer, previous: Pointer | null) => Pointer | null,
  object: Pointer,
): Pointer[] {
  const all: Pointer[] = [];
  for (let item = next(object, null); item !== null; item = next(object, item)) all.push(item);
  return all;
}

/** libbpf puts the object's name before that of a section with globals; the section's alone is what a user knows. */
function mapName(map: Pointer): string {
  const name = native().mapName(map);
  if (!native().mapIsInternal(map)) return name;
  return SECTIONS.find((section) => name.endsWith(section)) ?? name;
}

/** libbpf's copy of the BTF: it has filled in the sections' sizes and offsets. */
function readBtf(handle: Pointer): Btf | undefined {
  const btf = native().objectBtf(handle);
  if (btf === null) return undefined;
  const size = new Uint32Array(1);
  const raw = native().btfRawData(btf, size);
  return raw === null ? undefined : Btf.parse(copyOut(raw, size[0] ?? 0));
}
