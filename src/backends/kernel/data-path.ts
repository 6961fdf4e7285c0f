import { readFileSync } from "node:fs";
import { readLink } from "../../netlink/link.js";
import { findIfindex } from "../../sys/ifindex.js";

/**
 * What the kernel's data path dropped: the interface's own counts (net/xfrm/xfrm_interface_core.c: tx_errors without
 * metadata, tx_carrier_errors without policy or SA), and those of /proc/net/xfrm_stat, which are of the whole network
 * namespace. Only what is not 0.
 */
export function dataPathDrops(interfaceName: string): Record<string, number> {
  const ifindex = findIfindex(interfaceName);
  const link = ifindex === null ? null : readLink(ifindex);
  const counts = { ...link?.errors, ...xfrmStat() };
  return Object.fromEntries(Object.entries(counts).filter(([, count]) => count > 0));
}

/** Documentation/networking/xfrm_proc.rst; absent without CONFIG_XFRM_STATISTICS. */
function xfrmStat(): Record<string, number> {
  let text: string;
  try {
    text = readFileSync("/proc/thread-self/net/xfrm_stat", "utf8");
  } catch {
    return {};
  }
  return Object.fromEntries(
    [...text.matchAll(/^(\w+)\s+(\d+)$/gm)].map(([, name, count]) => [name, Number(count)]),
  );
}
