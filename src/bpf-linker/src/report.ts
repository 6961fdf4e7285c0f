import { statSync } from "node:fs";
import { BpfObject } from "libbpf-ts";

export interface ProgramReport {
  readonly name: string;
  readonly section: string;
  /** Instructions in the object, without the functions that it calls and that were not inlined. */
  readonly instructions: number;
}

/** What an object costs. */
export interface ObjectReport {
  readonly path: string;
  /** Bytes of the file, debug information included. */
  readonly fileBytes: number;
  /** Bytes of all instructions, those of functions that are not programs included. */
  readonly codeBytes: number;
  /** Bytes of BTF, which the kernel gets too. */
  readonly btfBytes: number;
  /** Bytes of global variables, by section. */
  readonly globals: Readonly<Record<string, number>>;
  readonly programs: readonly ProgramReport[];
}

/** Sizes and instruction counts of an object, whichever compiler made it. @throws InvalidObjectError */
export function reportObject(path: string): ObjectReport {
  using object = BpfObject.open(path);
  const { sections } = object;
  const bytes = (wanted: (section: (typeof sections)[number]) => boolean): number =>
    sections.filter(wanted).reduce((sum, section) => sum + section.size, 0);
  const globals = sections.filter(({ name, size }) => /^\.(rodata|data|bss)(\.|$)/.test(name) && size > 0);
  return {
    path,
    fileBytes: statSync(path).size,
    codeBytes: bytes(({ isCode }) => isCode),
    btfBytes: bytes(({ name }) => name === ".BTF" || name === ".BTF.ext"),
    globals: Object.fromEntries(globals.map(({ name, size }) => [name, size])),
    programs: [...object.programs.values()].map(({ name, section, instructions }) => ({
      name,
      section,
      instructions,
    })),
  };
}
