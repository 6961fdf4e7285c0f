import type { Connection, Family, FlowSubnets } from "../config/policy.js";
import { allocatePrefixes, type PrefixColumns, putPrefix } from "./prefix-set.js";

/** The connections' and the bulk files' subnets of one family, each owned by its connection's index. */
export function subnetsOf(
  connections: readonly Connection[],
  bulk: FlowSubnets,
  family: Family,
): PrefixColumns {
  let count = 0;
  for (const { subnets } of connections) for (const prefix of subnets) if (prefix.family === family) count++;
  const columns = allocatePrefixes(family, count + bulk.length.length);
  let at = 0;
  connections.forEach(({ subnets }, index) => {
    for (const prefix of subnets) if (prefix.family === family) putPrefix(columns, at++, prefix, index);
  });
  columns.words.set(bulk.words, count * columns.wordsEach);
  columns.length.set(bulk.length, count);
  columns.owner.set(bulk.connection, count);
  return columns;
}
