import { basename } from "node:path";
import { Elf, type ElfSymbol } from "./elf.js";

/** The C line that an instruction was compiled from. */
export interface SourceLine {
  readonly text: string;
  /** Its base name, as the kernel gives it; undefined where neither kernel nor object tells. */
  readonly file: string | undefined;
  readonly line: number | undefined;
}

interface LineRecord extends SourceLine {
  readonly section: string;
  /** Bytes from the start of the section. */
  readonly offset: number;
}

const INSTRUCTION_BYTES = 8;
/** struct btf_ext_header (tools/lib/bpf/libbpf_internal.h): where line information begins, and how long it is. */
const HEADER_BYTES = 4;
const LINE_OFFSET = 16;
const LINE_LENGTH = 20;
/** struct bpf_line_info (linux/bpf.h): at least so long; the line stands above ten bits of column. */
const RECORD_BYTES = 16;
const COLUMN_BITS = 10;

/** Source lines of an object's instructions: the section .BTF.ext (Documentation/bpf/btf.rst). */
export class LineInfo {
  readonly #elf: Elf;
  #records: LineRecord[] | undefined;

  /** @throws InvalidObjectError where it is no BPF object */
  constructor(object: Uint8Array) {
    this.#elf = new Elf(object);
  }

  /**
   * The line of an instruction as the verifier counts them; undefined where the object does not tell, and in the
   * functions that the program calls: the loader puts them behind it in an order of its own.
   */
  at(program: string, instruction: number): SourceLine | undefined {
    const symbol = this.#elf.symbols().find(({ name, isFunction }) => isFunction && name === program);
    if (symbol === undefined || instruction * INSTRUCTION_BYTES >= symbol.size) return undefined;
    const offset = symbol.value + instruction * INSTRUCTION_BYTES;
    return this.#in(symbol)
      .filter((record) => record.offset <= offset)
      .at(-1);
  }

  /** The one line of the object's code that reads so; undefined where there is none, or more than one. */
  reading(text: string): SourceLine | undefined {
    const found = this.#all().filter((record) => record.text === text);
    const places = new Set(found.map(({ file, line }) => `${file}:${line}`));
    return places.size === 1 ? found[0] : undefined;
  }

  /** Lines of one function, in the order of its instructions. */
  #in({ section, value, size }: ElfSymbol): LineRecord[] {
    const name = this.#elf.sections[section]?.name;
    return this.#all().filter(
      (record) => record.section === name && record.offset >= value && record.offset < value + size,
    );
  }

  #all(): LineRecord[] {
    this.#records ??= this.#read();
    return this.#records;
  }

  /** All records; fewer, or none, where the section is broken or not there: an error is only told better with it. */
  #read(): LineRecord[] {
    const records: LineRecord[] = [];
    const [ext, btf] = [this.#elf.section(".BTF.ext"), this.#elf.section(".BTF")];
    if (ext === undefined || btf === undefined) return records;
    try {
      const bytes = this.#elf.bytesOf(ext);
      const strings = stringsOf(this.#elf.bytesOf(btf));
      let at = bytes.readUInt32LE(HEADER_BYTES) + bytes.readUInt32LE(LINE_OFFSET);
      const end = at + bytes.readUInt32LE(LINE_LENGTH);
      const recordBytes = bytes.readUInt32LE(at);
      if (recordBytes < RECORD_BYTES) return records;
      for (at += 4; at < end; ) {
        const section = strings(bytes.readUInt32LE(at));
        const count = bytes.readUInt32LE(at + 4);
        at += 8;
        for (let i = 0; i < count; i++, at += recordBytes)
          records.push({
            section,
            offset: bytes.readUInt32LE(at),
            file: basename(strings(bytes.readUInt32LE(at + 4))),
            text: strings(bytes.readUInt32LE(at + 8)).trim(),
            line: bytes.readUInt32LE(at + 12) >>> COLUMN_BITS,
          });
      }
    } catch (error) {
      if (!(error instanceof RangeError)) throw error;
    }
    return records;
  }
}

/** Strings of BTF by their offset. */
function stringsOf(btf: Buffer): (offset: number) => string {
  const start = btf.readUInt32LE(4) + btf.readUInt32LE(16);
  const strings = btf.subarray(start, start + btf.readUInt32LE(20));
  return (offset) => strings.toString("utf8", offset, strings.indexOf(0, offset));
}
