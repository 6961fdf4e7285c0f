import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { BpfError, dumpBtf } from "libbpf-ts";
import { installBytes, PrivateCache } from "./cache.js";

const KERNEL_BTF = "/sys/kernel/btf/vmlinux";

/** As bpftool's: accesses to the kernel's structs are relocated when the object is loaded (CO-RE). */
const HEAD = `#ifndef __VMLINUX_H__
#define __VMLINUX_H__

#ifndef BPF_NO_PRESERVE_ACCESS_INDEX
#pragma clang attribute push (__attribute__((preserve_access_index)), apply_to = record)
#endif

`;
const TAIL = `
#ifndef BPF_NO_PRESERVE_ACCESS_INDEX
#pragma clang attribute pop
#endif

#endif /* __VMLINUX_H__ */
`;

export interface VmlinuxOptions {
  /** Where the header goes: name it vmlinux.h and give its folder to compile() as an include. */
  output: string;
  /** Raw BTF of a kernel; the running one's if left out. */
  btf?: string;
  /** Folder that keeps headers by their BTF, or false for none; default as compile()'s. */
  cache?: string | false;
}

/**
 * Writes vmlinux.h, all types of a kernel as C, from its BTF. Takes a second or two; the same kernel's comes from the cache.
 * @throws BpfError where the kernel has no BTF (CONFIG_DEBUG_INFO_BTF)
 */
export async function vmlinuxHeader({ output, btf = KERNEL_BTF, cache }: VmlinuxOptions): Promise<string> {
  let bytes: Uint8Array;
  try {
    bytes = await readFile(btf);
  } catch (cause) {
    const { code = "EIO" } = cause as NodeJS.ErrnoException;
    throw new BpfError(`write ${output}`, {
      code,
      found: `cannot read ${btf} (${code})`,
      hint: "the kernel needs CONFIG_DEBUG_INFO_BTF; or give another kernel's BTF",
      cause,
    });
  }
  const kept = PrivateCache.open(cache);
  const name = `vmlinux-${createHash("sha256").update(HEAD).update(bytes).digest("hex")}.h`;
  const known = await kept?.readHashed(name);
  const header = known ?? Buffer.from(HEAD + dumpBtf(btf) + TAIL);
  await installBytes(header, output);
  if (known === undefined) await kept?.writeHashed(name, header);
  return output;
}
