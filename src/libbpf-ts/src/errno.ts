import { constants } from "node:os";

/** Codes that libbpf (enum libbpf_errno, bpf/libbpf.h) and the kernel (linux/errno.h) use beside errno(3). */
const PRIVATE_CODES: Readonly<Record<number, string>> = {
  524: "ENOTSUPP",
  4000: "LIBBPF_LIBELF",
  4001: "LIBBPF_FORMAT",
  4002: "LIBBPF_KVERSION",
  4003: "LIBBPF_ENDIAN",
  4004: "LIBBPF_INTERNAL",
  4005: "LIBBPF_RELOC",
  4006: "LIBBPF_LOAD",
  4007: "LIBBPF_VERIFY",
  4008: "LIBBPF_PROG2BIG",
  4009: "LIBBPF_KVER",
  4010: "LIBBPF_PROGTYPE",
  4011: "LIBBPF_WRNGPID",
  4012: "LIBBPF_INVSEQ",
  4013: "LIBBPF_NLPARSE",
};

export const EPERM = 1;
export const ENOENT = 2;
export const EINTR = 4;
export const EACCES = 13;
export const EEXIST = 17;
export const ENODEV = 19;
export const EINVAL = 22;
export const ENOSPC = 28;
export const EOPNOTSUPP = 95;
export const ENOTSUPP = 524;

const NAMES = new Map(Object.entries(constants.errno).map(([name, value]) => [value, name]));

/** Symbolic name of a positive errno: "EINVAL", or "errno 1234" where nobody has named it. */
export function errnoName(errno: number): string {
  return PRIVATE_CODES[errno] ?? NAMES.get(errno) ?? `errno ${errno}`;
}
