import { check } from "./fail.js";
import { native } from "./native.js";

/** BPF_OBJ_GET_INFO_BY_FD: the first `size` bytes of the kernel's struct, zero where an older kernel has fewer. */
export function readInfo(fd: number, size: number, what: string): Buffer {
  const info = Buffer.alloc(size);
  check(native().infoByFd(fd, info, new Uint32Array([size])), `read the kernel's info about ${what}`);
  return info;
}

/** A NUL-terminated name field. */
export function readName(info: Buffer, offset: number, size: number): string {
  const field = info.subarray(offset, offset + size);
  const end = field.indexOf(0);
  return field.toString("latin1", 0, end < 0 ? size : end);
}
