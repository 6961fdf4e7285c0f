/** A small generator of random numbers (mulberry32): the same seed gives the same mutations everywhere. */
function random(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = state;
    mixed = Math.imul(mixed ^ (mixed >>> 15), mixed | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

const INTERESTING = [0, 1, 0x7f, 0x80, 0xff];

/**
 * A broken copy of an object: cut off, or with bytes, 32-bit words or section headers overwritten. The section table
 * at the end and the header in front are hit more often than code, as it is they that readers trust.
 */
export function mutate(whole: Uint8Array, seed: number): Uint8Array {
  const next = random(seed);
  const below = (limit: number): number => Math.floor(next() * limit);
  const bytes = Buffer.from(whole);
  if (seed % 4 === 0) return bytes.subarray(0, below(bytes.length));
  const tableAt = Number(bytes.readBigUInt64LE(40));
  const changes = 1 + below(8);
  for (let i = 0; i < changes; i++) {
    const place = [() => below(64), () => tableAt + below(bytes.length - tableAt), () => below(bytes.length)];
    const at = (place[seed % 3] ?? place[2])?.() ?? 0;
    if (next() < 0.5) bytes[at] = INTERESTING[below(INTERESTING.length)] ?? 0;
    else bytes.writeUInt32LE(below(2 ** 32), Math.min(at, bytes.length - 4));
  }
  return bytes;
}
