import type { Policy } from "../config/policy.js";
import { RowIndex } from "../config/row-index.js";
import type { Change } from "./plan.js";

/** How the bulk flows of two policies differ, by kind; rows are counted, as there may be a million. */
export function planFlows(before: Policy, after: Policy): Change[] {
  return KINDS.flatMap(({ table, name, key }): Change[] => {
    const old = before.flows[table];
    const now = after.flows[table];
    const size = table.endsWith("4") ? 1 : 4;
    const index = new RowIndex(columnsOf(old, key, size), old.line.length);
    for (let row = 0; row < old.line.length; row++) index.add(row);
    let found = 0;
    let redirected = 0;
    const columns = columnsOf(now, key, size);
    for (let row = 0; row < now.line.length; row++) {
      const was = index.find(columns.map(({ values, size: n }) => values.subarray(row * n, (row + 1) * n)));
      if (was < 0) continue;
      found++;
      const from = before.connections[old.connection[was] as number]?.name;
      const to = after.connections[now.connection[row] as number]?.name;
      if (from !== to) redirected++;
    }
    const added = now.line.length - found;
    const removed = old.line.length - found;
    if (added + removed + redirected === 0) return [];
    const details = [
      ...(added > 0 ? [`${added} added`] : []),
      ...(removed > 0 ? [`${removed} removed`] : []),
      ...(redirected > 0 ? [`${redirected} lead to another connection`] : []),
    ];
    return [{ action: "change", what: "flows", name, details }];
  });
}

type Table = "subnets4" | "subnets6" | "exact4" | "exact6";

const SUBNET_KEY = ["words", "length"] as const;
const EXACT_KEY = ["src", "dst", "proto", "ports"] as const;

const KINDS: readonly { readonly table: Table; readonly name: string; readonly key: readonly string[] }[] = [
  { table: "subnets4", name: "IPv4 subnets", key: SUBNET_KEY },
  { table: "subnets6", name: "IPv6 subnets", key: SUBNET_KEY },
  { table: "exact4", name: "IPv4 flows", key: EXACT_KEY },
  { table: "exact6", name: "IPv6 flows", key: EXACT_KEY },
];

/** Columns of one word a row, but for addresses. */
const ADDRESSES: ReadonlySet<string> = new Set(["words", "src", "dst"]);

function columnsOf(flows: object, key: readonly string[], size: number) {
  const columns = flows as Readonly<Record<string, Uint8Array | Uint32Array>>;
  return key.map((name) => ({
    values: columns[name] as Uint8Array | Uint32Array,
    size: ADDRESSES.has(name) ? size : 1,
  }));
}
