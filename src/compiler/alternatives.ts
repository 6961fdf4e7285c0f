/**
 * What a rule asks of each field, as alternatives of which one has to hold: each is a run of values or a value under a
 * mask, so that it becomes a column's entry. Negation is written out as what is left.
 */
import { FieldBits, Fragment } from "../bpf/tables.bpf.js";
import { contains } from "../config/address.js";
import { joinRanges } from "../config/cover.js";
import { wholeFamily } from "../config/families.js";
import {
  DEVICE_GROUP,
  type Family,
  type FragmentState,
  type Location,
  type Masked,
  type Match,
  type MatchField,
  type Prefix,
  type Range,
} from "../config/policy.js";
import { fieldMask } from "./dimension.js";

/** Bounds of a range field, or value and wildcard bits of a masked one; of an address a pair for each word. */
export type Alternative = readonly number[];

/** Device numbers for a rule's `iif`, as they are on the host that will run the program. */
export interface Devices {
  /** @throws where there is no such device */
  ifindexOf(name: string): number;
  /** Members of a device group, named as in iproute2's group file or by number; none where it is empty. */
  ifindexesOfGroup(group: string): readonly number[];
}

/** The same devices for one thing in a policy: an error says which and where it stands. */
export function locating(
  devices: Devices,
  kind: "connection" | "rule",
  { name, location: { file, line, column } }: { readonly name: string; readonly location: Location },
): Devices {
  const locate = <T>(ask: () => T): T => {
    try {
      return ask();
    } catch (error) {
      if (error instanceof Error)
        error.message = `${file}:${line}:${column}: ${kind} ${name}: ${error.message}`;
      throw error;
    }
  };
  return {
    ifindexOf: (device) => locate(() => devices.ifindexOf(device)),
    ifindexesOfGroup: (group) => locate(() => devices.ifindexesOfGroup(group)),
  };
}

/** Values that a packet can have where it has the field; the rest of the lane says that it lacks it. */
const LARGEST: Partial<Record<MatchField, number>> = {
  proto: 255,
  icmpType: 255,
  fragment: Fragment.FRAGMENT_LATER,
};

/** @returns null where the rule asks nothing of the field */
export function alternatives(
  field: MatchField,
  match: Match,
  family: Family,
  devices: Devices,
): readonly Alternative[] | null {
  if (match[field].length === 0) return null;
  const negated = match.not.includes(field);
  switch (field) {
    case "src":
    case "dst":
      return ofPrefixes(match[field], negated, family);
    case "sport":
    case "dport":
      return ofRanges(match[field], negated, fieldMask(RANGE_BITS[field]));
    case "icmpType":
      return ofRanges(match.icmpType, negated, LARGEST.icmpType as number);
    case "length":
      return ofRanges(match.length, negated, fieldMask(RANGE_BITS.length));
    case "proto":
      return ofRanges(single(match.proto), negated, LARGEST.proto as number);
    case "dscp":
      return ofRanges(single(match.dscp), negated, fieldMask(RANGE_BITS.dscp));
    case "ecn":
      return ofRanges(single(match.ecn), negated, fieldMask(RANGE_BITS.ecn));
    case "fragment":
      return ofRanges(
        single(match.fragment.map((state) => FRAGMENT[state])),
        negated,
        LARGEST.fragment as number,
      );
    case "mark":
      return (negated ? complementMasks(match.mark) : match.mark).map(({ value, mask }) => [
        (value & mask) >>> 0,
        ~mask >>> 0,
      ]);
    case "iif":
      return ofDevices(match.iif, negated, devices);
  }
}

/** Bits of each range field. */
export const RANGE_BITS = {
  sport: FieldBits.PORT_BITS,
  dport: FieldBits.PORT_BITS,
  proto: FieldBits.PROTO_BITS,
  dscp: FieldBits.DSCP_BITS,
  length: FieldBits.LENGTH_BITS,
  icmpType: FieldBits.ICMP_BITS,
  ecn: FieldBits.ECN_BITS,
  fragment: FieldBits.FRAGMENT_BITS,
} as const;

export const FRAGMENT: Readonly<Record<FragmentState, Fragment>> = {
  none: Fragment.FRAGMENT_NONE,
  first: Fragment.FRAGMENT_FIRST,
  later: Fragment.FRAGMENT_LATER,
};

function single(values: readonly number[]): Range[] {
  return values.map((value) => ({ from: value, to: value }));
}

/** Ranges sorted and joined where they touch, or what they leave of [0, largest]. */
function ofRanges(ranges: readonly Range[], negated: boolean, largest: number): Alternative[] {
  const joined = joinRanges(ranges);
  if (!negated) return joined.map(({ from, to }) => [from, to]);
  const left: Alternative[] = [];
  let next = 0;
  for (const { from, to } of joined) {
    if (from > next) left.push([next, from - 1]);
    next = to + 1;
  }
  if (next <= largest) left.push([next, largest]);
  return left;
}

function ofPrefixes(prefixes: readonly Prefix[], negated: boolean, family: Family): Alternative[] {
  const own = prefixes.filter((prefix) => prefix.family === family);
  const listed = negated ? complementPrefixes(own, wholeFamily(family)) : own;
  return listed.map((prefix) => prefix.words.flatMap((_, w) => prefixWord(prefix, w)));
}

/** The fewest prefixes that hold what is in `around` and in none of `prefixes`. */
function complementPrefixes(prefixes: readonly Prefix[], around: Prefix): Prefix[] {
  const within = prefixes.filter((prefix) => prefix.length >= around.length && contains(around, prefix));
  if (within.length === 0) return [around];
  if (within.some(({ length }) => length === around.length)) return [];
  return [0, 1].flatMap((bit) => complementPrefixes(within, half(around, bit)));
}

/** The lower (bit 0) or upper (bit 1) half of a prefix. */
function half({ family, words, length }: Prefix, bit: number): Prefix {
  const at = length >>> 5;
  const changed = words.map((word, w) => (w === at ? (word | (bit << (31 - (length & 31)))) >>> 0 : word));
  return { family, words: changed, length: length + 1 };
}

/** Value and wildcard bits of one word of a prefix. */
function prefixWord({ words, length }: Prefix, word: number): [number, number] {
  const kept = Math.min(32, Math.max(0, length - 32 * word));
  const wild = kept === 0 ? 0xffffffff : kept === 32 ? 0 : 2 ** (32 - kept) - 1;
  return [((words[word] ?? 0) & ~wild) >>> 0, wild];
}

/** What none of the masked values matches: for each, some bit of its mask differs; the bits above that one agree. */
function complementMasks(marks: readonly Masked[]): Masked[] {
  let left: Masked[] = [{ value: 0, mask: 0 }];
  for (const { value, mask } of marks) {
    const differ: Masked[] = [];
    let above = 0;
    for (let bit = 31; bit >= 0; bit--) {
      const one = (1 << bit) >>> 0;
      if (!(mask & one)) continue;
      differ.push({ value: (((value & above) | (~value & one)) >>> 0) >>> 0, mask: (above | one) >>> 0 });
      above = (above | one) >>> 0;
    }
    left = left.flatMap((x) => differ.flatMap((y) => intersect(x, y)));
  }
  return left;
}

function intersect(x: Masked, y: Masked): Masked[] {
  if ((x.value ^ y.value) & x.mask & y.mask) return [];
  return [{ value: (x.value | y.value) >>> 0, mask: (x.mask | y.mask) >>> 0 }];
}

/** Interface numbers; a packet that was made on this host has 0 and matches neither names nor their negation. */
function ofDevices(names: readonly string[], negated: boolean, devices: Devices): Alternative[] {
  const indexes = new Set(
    names.flatMap((name) =>
      name.startsWith(DEVICE_GROUP)
        ? devices.ifindexesOfGroup(name.slice(DEVICE_GROUP.length))
        : [devices.ifindexOf(name)],
    ),
  );
  if (!negated) return [...indexes].map((ifindex) => [ifindex, 0]);
  const listed = [0, ...indexes].map((ifindex): Prefix => ({ family: 4, words: [ifindex], length: 32 }));
  return complementPrefixes(listed, wholeFamily(4)).map((prefix) => prefixWord(prefix, 0));
}
