import { typePlaces } from "./btf-check.js";
import { Kind } from "./btf-types.js";
import type { Elf } from "./elf.js";
import { UnknownNameError } from "./errors.js";

// elf.h: struct Elf64_Ehdr and Elf64_Shdr
const E_SHOFF = 40;
const SHDR_BYTES = 64;
const SH_OFFSET = 24;
const SH_SIZE = 32;
const ALIGNMENT = 16;

/**
 * The object file with other contents in some of its sections. libbpf before 1.3 cannot resize a section that it has opened.
 * @throws UnknownNameError where there is no such section
 */
export function replaceSections(
  { sections }: Elf,
  file: Uint8Array,
  contents: ReadonlyMap<string, Uint8Array>,
): Buffer {
  const parts: Uint8Array[] = [file];
  let length = file.length;
  const append = (part: Uint8Array): void => {
    parts.push(part);
    length += part.length;
  };
  const placed = [...contents].map(([name, bytes]) => {
    const index = sections.findIndex((section) => section.name === name);
    if (index < 0) {
      const known = sections.map((section) => section.name);
      throw new UnknownNameError("replace contents of an object", "section", name, known);
    }
    append(new Uint8Array(-length & (ALIGNMENT - 1)));
    const offset = length;
    append(bytes);
    return { index, offset, size: bytes.length };
  });
  const out = Buffer.concat(parts, length);
  const headers = Number(out.readBigUInt64LE(E_SHOFF));
  for (const { index, offset, size } of placed) {
    out.writeBigUInt64LE(BigInt(offset), headers + index * SHDR_BYTES + SH_OFFSET);
    out.writeBigUInt64LE(BigInt(size), headers + index * SHDR_BYTES + SH_SIZE);
  }
  const btf = sections.find((section) => section.name === ".BTF");
  if (btf) resizeDatasecs(out.subarray(btf.offset, btf.offset + btf.size), contents);
  return out;
}

/** A linker has written the sections' sizes into BTF, where a compiler leaves 0 for libbpf to fill in. */
function resizeDatasecs(btf: Buffer, contents: ReadonlyMap<string, Uint8Array>): void {
  const strings = btf.readUInt32LE(4) + btf.readUInt32LE(16);
  for (const at of typePlaces(btf)) {
    if ((btf.readUInt32LE(at + 4) >>> 24) % 32 !== Kind.datasec || btf.readUInt32LE(at + 8) === 0) continue;
    const name = strings + btf.readUInt32LE(at);
    const size = contents.get(btf.toString("latin1", name, btf.indexOf(0, name)))?.length;
    if (size !== undefined) btf.writeUInt32LE(size, at + 8);
  }
}
