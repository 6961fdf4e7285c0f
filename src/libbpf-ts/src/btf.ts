import { BTF_MAGIC, parseTypes } from "./btf-parse.js";
import type { BtfType, BtfTypeOf } from "./btf-types.js";
import { Elf } from "./elf.js";
import { InvalidObjectError, UnknownNameError } from "./errors.js";

/** A member of a struct or union. Members of anonymous inner structs and unions are listed with the outer's. */
export interface BtfMember {
  readonly name: string;
  /** Bits from the start of the outermost struct. */
  readonly bitOffset: number;
  /** Bits taken; the declared width of a bit field. */
  readonly bitSize: number;
  /** Bytes from the start, bitOffset / 8 rounded down. */
  readonly offset: number;
  /** Bytes of the member's type. */
  readonly size: number;
  /** C name of the type ("__u32", "struct flow", "__u8[16]"). */
  readonly type: string;
  readonly typeId: number;
}

export interface BtfStruct {
  readonly name: string;
  /** sizeof in bytes. */
  readonly size: number;
  readonly members: readonly BtfMember[];
}

export interface BtfEnum {
  readonly name: string;
  readonly size: number;
  readonly signed: boolean;
  readonly values: ReadonlyMap<string, bigint>;
}

/** A global variable in its section (".rodata", ".bss"). */
export interface BtfVariable {
  readonly name: string;
  /** Byte offset in the section. */
  readonly offset: number;
  readonly size: number;
  readonly type: string;
  readonly typeId: number;
}

export interface BtfDatasec {
  readonly name: string;
  readonly size: number;
  readonly variables: readonly BtfVariable[];
}

const POINTER_BYTES = 8;

/** A reader of BPF Type Format (Documentation/bpf/btf.rst): the types of an object or a kernel. */
export class Btf {
  /** All types by number; 0 is void. */
  readonly types: readonly BtfType[];

  private constructor(types: readonly BtfType[]) {
    this.types = types;
  }

  /**
   * Reads an object's .BTF section (give the ELF file's bytes), or raw BTF such as /sys/kernel/btf/vmlinux.
   * @throws InvalidObjectError
   */
  static parse(bytes: Uint8Array): Btf {
    const magic = (bytes[0] ?? 0) | ((bytes[1] ?? 0) << 8);
    if (magic === BTF_MAGIC) return new Btf(parseTypes(bytes).types);
    const elf = new Elf(bytes);
    const section = elf.section(".BTF");
    if (section === undefined) {
      throw new InvalidObjectError("read BTF", "the object has no .BTF section", {
        hint: "compile it with -g",
      });
    }
    const { types } = parseTypes(elf.bytesOf(section));
    return new Btf(types.map((type) => (type.kind === "datasec" ? placeVariables(type, types, elf) : type)));
  }

  /** Layout of a struct, by its tag or by a typedef's name. @throws UnknownNameError */
  struct(name: string): BtfStruct {
    return this.#composite("struct", name);
  }

  /** Layout of a union. @throws UnknownNameError */
  union(name: string): BtfStruct {
    return this.#composite("union", name);
  }

  /** @throws UnknownNameError */
  enum(name: string): BtfEnum {
    const { size, signed, values } = this.#find("enum", name);
    return { name, size, signed, values };
  }

  /** The global variables of a section. @throws UnknownNameError */
  datasec(name: string): BtfDatasec {
    const section = this.#find("datasec", name);
    const variables = section.variables.flatMap(({ type, offset, size }) => {
      const variable = this.types[type];
      if (variable?.kind !== "var") return []; // a function of section ".ksyms"
      const { name, type: typeId } = variable;
      return [{ name, offset, size, typeId, type: this.typeName(typeId) }];
    });
    return { name, size: section.size, variables };
  }

  /** Names of the sections that have variables. */
  datasecs(): string[] {
    return this.types.filter((type) => type.kind === "datasec").map((type) => type.name);
  }

  /** The type behind typedefs, const, volatile, restrict and tags. */
  resolve(id: number): BtfType {
    let type = this.#type(id);
    // A well-formed chain is far shorter than the number of types; a longer one is a cycle.
    for (let steps = 0; steps <= this.types.length; steps++) {
      switch (type.kind) {
        case "typedef":
        case "const":
        case "volatile":
        case "restrict":
        case "typeTag":
          type = this.#type(type.type);
          break;
        default:
          return type;
      }
    }
    throw new InvalidObjectError("read BTF", `type ${id} refers to itself`);
  }

  /** sizeof a type in bytes; 0 for void and functions. */
  sizeOf(id: number): number {
    const type = this.resolve(id);
    if (type.kind === "array") return this.sizeOf(type.type) * type.length;
    if (type.kind === "ptr") return POINTER_BYTES;
    return "size" in type ? type.size : 0;
  }

  /** A type's name as in C. */
  typeName(id: number): string {
    const type = this.#type(id);
    switch (type.kind) {
      case "struct":
      case "union":
      case "enum":
        return `${type.kind} ${type.name || "<anonymous>"}`;
      case "const":
      case "volatile":
      case "restrict":
      case "typeTag":
        return this.typeName(type.type);
      case "ptr":
        return `${this.typeName(type.type)} *`;
      case "array":
        return this.#arrayName(type);
      default:
        return type.name;
    }
  }

  #arrayName(outer: BtfTypeOf<"array">): string {
    let lengths = "";
    let type: BtfType = outer;
    let element = 0;
    while (type.kind === "array") {
      lengths += `[${type.length}]`;
      element = type.type;
      type = this.#type(element);
    }
    return this.typeName(element) + lengths;
  }

  #type(id: number): BtfType {
    const type = this.types[id];
    if (type === undefined) throw new InvalidObjectError("read BTF", `there is no type ${id}`);
    return type;
  }

  #find<K extends BtfType["kind"]>(kind: K, name: string): BtfTypeOf<K> {
    for (const [id, type] of this.types.entries()) {
      if (type.name !== name) continue;
      const found = type.kind === "typedef" ? this.resolve(id) : type;
      if (found.kind === kind) return found as BtfTypeOf<K>;
    }
    const known = this.types
      .filter((type) => type.kind === kind && type.name !== "")
      .map((type) => type.name);
    throw new UnknownNameError("read BTF", kind, name, known.slice(0, 50));
  }

  #composite(kind: "struct" | "union", name: string): BtfStruct {
    const { size, members } = this.#find(kind, name);
    return { name, size, members: this.#members(members, 0) };
  }

  #members(members: BtfTypeOf<"struct">["members"], base: number): BtfMember[] {
    return members.flatMap((member) => {
      const bitOffset = base + member.bitOffset;
      const inner = this.resolve(member.type);
      if (member.name === "" && (inner.kind === "struct" || inner.kind === "union")) {
        return this.#members(inner.members, bitOffset);
      }
      const size = this.sizeOf(member.type);
      return {
        name: member.name,
        bitOffset,
        bitSize: member.bits || size * 8,
        offset: Math.floor(bitOffset / 8),
        size,
        type: this.typeName(member.type),
        typeId: member.type,
      };
    });
  }
}

/**
 * clang leaves a section's size and its variables' offsets to the linker or loader; this fills them in from the
 * section and symbol tables, as libbpf's btf_fixup_datasec does.
 */
function placeVariables(datasec: BtfTypeOf<"datasec">, types: readonly BtfType[], elf: Elf): BtfType {
  const index = elf.sections.findIndex((section) => section.name === datasec.name);
  const section = elf.sections[index];
  if (section === undefined || datasec.size !== 0) return datasec;
  const offsets = new Map(
    elf.symbols().flatMap((symbol) => (symbol.section === index ? [[symbol.name, symbol.value]] : [])),
  );
  const variables = datasec.variables.map((variable) => ({
    ...variable,
    offset: offsets.get(types[variable.type]?.name ?? "") ?? variable.offset,
  }));
  return { ...datasec, size: section.size, variables };
}
