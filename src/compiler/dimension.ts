/**
 * The fields that a tree can cut, as columns over its rows. A row is one conjunction of field matches: a rule whose
 * match lists several prefixes or port ranges becomes a row for each combination.
 */

export interface Dimension {
  /** Word of the packet's key, and the lowest bit of the field within it. */
  readonly word: number;
  readonly shift: number;
  readonly bits: number;
  /** `mask`: of 32 bits, matches x with (x ^ a) & ~b == 0, b being the wildcard bits. `range`: matches a <= x <= b. */
  readonly kind: "mask" | "range";
  readonly a: Uint32Array;
  readonly b: Uint32Array;
}

/** The part of a field's values that reach a node: the bits that windows above it have fixed. */
export interface Region {
  /** By dimension: which bits are fixed, and to what. */
  readonly fixed: Uint32Array;
  readonly value: Uint32Array;
}

export function emptyRegion(dimensions: number): Region {
  return { fixed: new Uint32Array(dimensions), value: new Uint32Array(dimensions) };
}

export function fieldMask(bits: number): number {
  return bits === 32 ? 0xffffffff : 2 ** bits - 1;
}

/** Lowest and highest value of a range field that can be in the region, as far as its leading bits tell. */
export function regionBounds(dimension: Dimension, fixed: number, value: number): [number, number] {
  const free = (fieldMask(dimension.bits) & ~fixed) >>> 0;
  if (free === 0) return [value, value];
  const top = 31 - Math.clz32(free);
  const below = top === 31 ? 0xffffffff : 2 ** (top + 1) - 1;
  const low = (value & ~below) >>> 0;
  return [low, (low | below) >>> 0];
}
