import { readFileSync } from "node:fs";
import { basename } from "node:path";
import { BpfError } from "./errors.js";

/** An object's name by its file's: count.bpf.o is count. */
export function objectName(path: string): string {
  return basename(path).replace(/(\.bpf)?\.o$/, "");
}

/** The bytes of an object file. @throws BpfError */
export function readObject(path: string, op: string): Uint8Array {
  try {
    return readFileSync(path);
  } catch (cause) {
    const { code = "EIO", errno } = cause as NodeJS.ErrnoException;
    const hint = code === "ENOENT" ? "compile it first, or correct the path" : undefined;
    throw new BpfError(op, {
      code,
      errno: Math.abs(errno ?? 0),
      found: `cannot read it (${code})`,
      hint,
      cause,
    });
  }
}
