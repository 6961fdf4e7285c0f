import type { Family, Masked, Match, Policy, Prefix, Range } from "../config/policy.js";
import { type Dimension, fieldMask } from "./dimension.js";
import { DSCP_BITS, DSCP_SHIFT, KeyWord, PROTO_BITS } from "./layout.js";

/**
 * The rules of one family as columns, in order of precedence. A rule is a row for each combination of its source and
 * destination prefixes and port ranges; a rule without addresses has rows in both families.
 */
export interface Rows {
  readonly family: Family;
  readonly length: number;
  readonly dimensions: readonly Dimension[];
  /** By row: the rule's index, and whether it matches only packets that have ports. */
  readonly rule: Uint32Array;
  readonly needsPorts: Uint8Array;
  /** True where any row matches on mark or interface. */
  readonly usesExtra: boolean;
}

/** Columns by position: src and dst words first (1 each for IPv4, 4 for IPv6), then these. */
export const FIELDS = ["sport", "dport", "proto", "dscp", "mark", "iif"] as const;

interface Row {
  rule: number;
  src: Prefix | null;
  dst: Prefix | null;
  sport: Range | null;
  dport: Range | null;
  proto: number | null;
  dscp: number | null;
  mark: Masked | null;
  iif: string | null;
}

const orAny = <T>(list: readonly T[]): readonly (T | null)[] => (list.length > 0 ? list : [null]);

function* rowsOf(match: Match, rule: number, family: Family): Generator<Row> {
  const ofFamily = (prefixes: readonly Prefix[]) =>
    prefixes.length > 0 ? prefixes.filter((p) => p.family === family) : [null];
  for (const src of ofFamily(match.src))
    for (const dst of ofFamily(match.dst))
      for (const sport of orAny(match.sport))
        for (const dport of orAny(match.dport))
          for (const proto of orAny(match.proto))
            for (const dscp of orAny(match.dscp))
              for (const mark of orAny(match.mark))
                for (const iif of orAny(match.iif))
                  yield { rule, src, dst, sport, dport, proto, dscp, mark, iif };
}

/** @param ifindexOf resolves an interface name of a rule's `iif` on the host that will run the program */
export function expandRules(policy: Policy, family: Family, ifindexOf: (name: string) => number): Rows {
  const list = policy.rules.flatMap((rule, index) => [...rowsOf(rule.match, index, family)]);
  const n = list.length;
  const dimensions: Dimension[] = [];
  const column = (
    name: string,
    word: number,
    shift: number,
    bits: number,
    kind: Dimension["kind"],
    fill: (row: Row) => readonly [number, number],
  ) => {
    const a = new Uint32Array(n);
    const b = new Uint32Array(n);
    list.forEach((row, i) => {
      const [x, y] = fill(row);
      a[i] = x;
      b[i] = y;
    });
    dimensions.push({ name, word, shift, bits, kind, a, b });
  };
  const words = family === 4 ? 1 : 4;
  for (const side of ["src", "dst"] as const)
    for (let w = 0; w < words; w++)
      column(`${side}${w}`, KeyWord[side] + w, 0, 32, "mask", (row) => prefixWord(row[side], w));
  for (const side of ["sport", "dport"] as const)
    column(side, KeyWord.ports, side === "sport" ? 16 : 0, 16, "range", (row) => {
      const range = row[side];
      return range ? [range.from, range.to] : [0, 0xffff];
    });
  column("proto", KeyWord.proto, 0, PROTO_BITS, "range", ({ proto }) => exact(proto, PROTO_BITS));
  column("dscp", KeyWord.proto, DSCP_SHIFT, DSCP_BITS, "range", ({ dscp }) => exact(dscp, DSCP_BITS));
  column("mark", KeyWord.mark, 0, 32, "mask", ({ mark }) =>
    mark ? [(mark.value & mark.mask) >>> 0, ~mark.mask >>> 0] : [0, 0xffffffff],
  );
  column("iif", KeyWord.iif, 0, 32, "mask", ({ iif }) =>
    iif === null ? [0, 0xffffffff] : [ifindexOf(iif), 0],
  );
  return {
    family,
    length: n,
    dimensions,
    rule: Uint32Array.from(list, (row) => row.rule),
    needsPorts: Uint8Array.from(list, (row) => (row.sport || row.dport ? 1 : 0)),
    usesExtra: list.some(({ mark, iif }) => mark !== null || iif !== null),
  };
}

function exact(value: number | null, bits: number): readonly [number, number] {
  return value === null ? [0, fieldMask(bits)] : [value, value];
}

/** Value and wildcard bits of one word of a prefix. */
export function prefixWord(prefix: Prefix | null, word: number): readonly [number, number] {
  const length = Math.min(32, Math.max(0, (prefix?.length ?? 0) - 32 * word));
  const wild = length === 0 ? 0xffffffff : length === 32 ? 0 : 2 ** (32 - length) - 1;
  return [((prefix?.words[word] ?? 0) & ~wild) >>> 0, wild];
}
