import koffi from "koffi";

/** MEMBARRIER_CMD_GLOBAL, linux/membarrier.h. */
const CMD_GLOBAL = 1;
/** Numbers of membarrier(2): asm/unistd_64.h, and asm-generic/unistd.h elsewhere. */
const MEMBARRIER = process.arch === "x64" ? 324 : 283;

const syscall = koffi.load("libc.so.6").func("long syscall(long number, int command, uint flags, int cpu)");

/**
 * Waits until every CPU has left the RCU sections that it is in: no packet is still between a program or route that was replaced
 * and what it decided. kernel/sched/membarrier.c calls synchronize_rcu() where there are several CPUs; one CPU that runs us is in none.
 *
 * @returns false where the kernel does not offer it (nohz_full)
 */
export function waitForRcu(): boolean {
  return syscall(MEMBARRIER, CMD_GLOBAL, 0, 0) === 0;
}
