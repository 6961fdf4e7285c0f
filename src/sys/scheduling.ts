import { setPriority } from "node:os";
import { schedSetscheduler } from "./libc.js";
import { Slab } from "./slab.js";

/** linux/sched.h */
const SCHED_BATCH = 3;
/** struct sched_param: int sched_priority, 0 but for real-time policies. */
const SCHED_PARAM_SIZE = 4;
const NICE = -10;

/**
 * Gives the calling thread more of the CPU than other processes have, in few and long turns: nice -10, where CAP_SYS_NICE
 * allows it, and SCHED_BATCH, so that it does not interrupt, packet by packet, those whose packets it takes. Where either
 * is refused all works as well, only slower.
 */
export function takeLongTurns(): void {
  const parameters = new Slab(SCHED_PARAM_SIZE);
  schedSetscheduler(0, SCHED_BATCH, parameters.base);
  try {
    setPriority(NICE); // of a thread: setpriority(2), "C library/kernel differences"
  } catch {}
}
