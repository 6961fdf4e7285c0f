import { closeSync, constants, fstatSync, openSync, readSync, type Stats, statSync } from "node:fs";

/** A path that leads to something else than a regular file of a size that makes sense. */
export class RegularFileError extends Error {
  override readonly name = "RegularFileError";
  readonly code: "ENOTREG" | "EFBIG";
  /** What is there, or how large the file may be. */
  readonly found: string;

  constructor(path: string, code: "ENOTREG" | "EFBIG", found: string) {
    super(code === "ENOTREG" ? `${path} is ${found}, not a regular file` : `${path} is larger than ${found}`);
    this.code = code;
    this.found = found;
  }
}

/** Bytes read at once where the size is not known. */
const CHUNK = 1 << 16;

/**
 * Opens a regular file for reading. What it is is asked before it is opened, as opening a device may set it going
 * (/dev/watchdog), and again afterwards; a FIFO put in its place in between is not waited for.
 *
 * @param limit bytes that it may have
 * @throws RegularFileError, and what open(2) says, with `code`
 */
export function openRegular(path: string, limit: number): number {
  demandRegular(path, statSync(path), limit);
  const fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOCTTY);
  try {
    demandRegular(path, fstatSync(fd), limit);
    return fd;
  } catch (error) {
    closeSync(fd);
    throw error;
  }
}

/** All bytes of a regular file; also of one in /proc, which says no size. @throws as openRegular */
export function readRegular(path: string, limit: number): Buffer {
  const fd = openRegular(path, limit);
  try {
    let bytes = Buffer.allocUnsafeSlow(fstatSync(fd).size + 1);
    let length = 0;
    for (;;) {
      if (length === bytes.length) bytes = Buffer.concat([bytes], length + Math.max(CHUNK, length));
      const count = readSync(fd, bytes, length, bytes.length - length, null);
      if (count === 0) return bytes.subarray(0, length);
      length += count;
      if (length > limit) throw tooLarge(path, limit);
    }
  } finally {
    closeSync(fd);
  }
}

function demandRegular(path: string, found: Stats, limit: number): void {
  if (found.isDirectory()) throw Object.assign(new Error(`${path} is a directory`), { code: "EISDIR" });
  if (!found.isFile()) throw new RegularFileError(path, "ENOTREG", kindOf(found));
  if (found.size > limit) throw tooLarge(path, limit);
}

function tooLarge(path: string, limit: number): RegularFileError {
  return new RegularFileError(path, "EFBIG", `${limit / (1 << 20)} MiB`);
}

function kindOf(found: Stats): string {
  if (found.isFIFO()) return "a FIFO";
  if (found.isSocket()) return "a socket";
  return "a device";
}
