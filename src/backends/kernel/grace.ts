import { setTimeout as delay } from "node:timers/promises";
import { waitForRcu } from "../../sys/rcu.js";

/**
 * Milliseconds until packets have left that were under way when what decides about them changed.
 *
 * From our program, or the route's lookup, to the xfrm interface's choice of an SA a packet is in one section of RCU
 * (__dev_queue_xmit in net/core/dev.c; the interface has no queue), which waitForRcu() waits for. The rest is for what RCU does not
 * cover: received packets between their SA and our program wait in a CPU's queue (gro_cells, netif_rx, xfrm_trans_queue), which takes
 * as long as its softirq, and a sender that has looked up a route and is preempted before it sends. Both take milliseconds where a
 * machine is loaded. Not covered: a corked UDP socket and a netfilter queue keep a packet's route as long as a process likes.
 */
export const GRACE_MS = 1000;

export async function packetsUnderWay(): Promise<void> {
  waitForRcu();
  await delay(GRACE_MS);
}
