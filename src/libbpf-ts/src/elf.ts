import { InvalidObjectError } from "./errors.js";

/** One section of an ELF file. */
export interface ElfSection {
  readonly name: string;
  readonly type: number;
  readonly offset: number;
  readonly size: number;
  readonly link: number;
  /** Whether it holds instructions (SHF_EXECINSTR). */
  readonly isCode: boolean;
}

/** A symbol, with the number of the section that it lies in. */
export interface ElfSymbol {
  readonly name: string;
  readonly section: number;
  /** Byte offset in the section. */
  readonly value: number;
  /** Bytes. */
  readonly size: number;
  readonly isFunction: boolean;
  readonly isGlobal: boolean;
}

// elf.h
const EHDR_BYTES = 64;
const SHDR_BYTES = 64;
const SYM_BYTES = 24;
const ELFCLASS64 = 2;
const ELFDATA2LSB = 1;
const EM_BPF = 247;
const SHT_SYMTAB = 2;
const SHT_NOBITS = 8;
const STT_FUNC = 2;
const STB_GLOBAL = 1;
const SHF_EXECINSTR = 4;

const OP = "read a BPF object";
const COMPILE_HINT = "compile it with clang -target bpf";

function text(bytes: Buffer, start: number): string {
  const end = bytes.indexOf(0, start);
  return bytes.toString("latin1", start, end < 0 ? bytes.length : end);
}

/** As much of a little-endian ELF64 file of machine BPF as BTF needs; bounds are checked when it is opened. */
export class Elf {
  readonly sections: readonly ElfSection[];
  readonly #bytes: Buffer;

  /** @throws InvalidObjectError where the header or the section table is not whole */
  constructor(bytes: Uint8Array) {
    const elf = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.#bytes = elf;
    if (elf.length < EHDR_BYTES || elf.toString("latin1", 0, 4) !== "\x7fELF") {
      throw new InvalidObjectError(OP, "it is not an ELF file", { hint: COMPILE_HINT });
    }
    if (elf[4] !== ELFCLASS64 || elf[5] !== ELFDATA2LSB || elf.readUInt16LE(18) !== EM_BPF) {
      const found = `ELF class ${elf[4]}, byte order ${elf[5]}, machine ${elf.readUInt16LE(18)} in place of 2, 1, 247`;
      throw new InvalidObjectError(OP, found, { hint: COMPILE_HINT });
    }
    const table = Number(elf.readBigUInt64LE(40));
    const entry = elf.readUInt16LE(58);
    const count = elf.readUInt16LE(60);
    const names = elf.readUInt16LE(62);
    if (entry !== SHDR_BYTES || count === 0 || names >= count || table + count * SHDR_BYTES > elf.length) {
      throw new InvalidObjectError(
        OP,
        `the section table at ${table} is cut off; the file has ${elf.length} bytes`,
      );
    }
    const raw = Array.from({ length: count }, (_, index) => {
      const at = table + index * SHDR_BYTES;
      const section = {
        nameAt: elf.readUInt32LE(at),
        type: elf.readUInt32LE(at + 4),
        offset: Number(elf.readBigUInt64LE(at + 24)),
        size: Number(elf.readBigUInt64LE(at + 32)),
        link: elf.readUInt32LE(at + 40),
        isCode: (Number(elf.readBigUInt64LE(at + 8)) & SHF_EXECINSTR) !== 0,
      };
      if (section.type !== SHT_NOBITS && section.offset + section.size > elf.length) {
        throw new InvalidObjectError(OP, `section ${index} is cut off; the file has ${elf.length} bytes`);
      }
      return section;
    });
    const strings = this.#data(raw[names]);
    this.sections = raw.map(({ nameAt, ...section }) => ({ name: text(strings, nameAt), ...section }));
  }

  /** The first section of that name. */
  section(name: string): ElfSection | undefined {
    return this.sections.find((section) => section.name === name);
  }

  /** A section's bytes, not copied. */
  bytesOf(section: ElfSection): Buffer {
    return this.#data(section);
  }

  symbols(): ElfSymbol[] {
    const table = this.sections.find((section) => section.type === SHT_SYMTAB);
    const strings = table && this.sections[table.link];
    if (table === undefined || strings === undefined) return [];
    const data = this.#data(table);
    const names = this.#data(strings);
    return Array.from({ length: Math.floor(data.length / SYM_BYTES) }, (_, index) => ({
      name: text(names, data.readUInt32LE(index * SYM_BYTES)),
      section: data.readUInt16LE(index * SYM_BYTES + 6),
      value: Number(data.readBigUInt64LE(index * SYM_BYTES + 8)),
      size: Number(data.readBigUInt64LE(index * SYM_BYTES + 16)),
      isFunction: ((data[index * SYM_BYTES + 4] ?? 0) & 0xf) === STT_FUNC,
      isGlobal: (data[index * SYM_BYTES + 4] ?? 0) >> 4 === STB_GLOBAL,
    }));
  }

  #data(section: { type: number; offset: number; size: number } | undefined): Buffer {
    if (section === undefined || section.type === SHT_NOBITS) return Buffer.alloc(0);
    return this.#bytes.subarray(section.offset, section.offset + section.size);
  }
}
