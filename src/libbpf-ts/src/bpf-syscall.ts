import koffi from "koffi";
import { lastErrno } from "./libc.js";

/** SYS_bpf (asm/unistd.h) by Node's name of the architecture. */
const SYS_BPF: Readonly<Record<string, number>> = {
  x64: 321,
  arm64: 280,
  riscv64: 280,
  s390x: 351,
  ppc64: 361,
};

const syscall = koffi
  .load("libc.so.6")
  .func("long syscall(long number, long command, void *attributes, unsigned long size)") as unknown as (
  number: number,
  command: number,
  attributes: Buffer,
  size: number,
) => number;

/**
 * bpf(2), for commands whose fields libbpf 1.1 does not know yet.
 * @returns what the kernel does, or -errno, as libbpf's functions do
 */
export function bpf(command: number, attributes: Buffer): number {
  const number = SYS_BPF[process.arch];
  if (number === undefined) throw new Error(`no number of the system call bpf is known for ${process.arch}`);
  const result = syscall(number, command, attributes, attributes.length);
  return result < 0 ? -lastErrno() : result;
}
