/** Names of connections and rules: they appear in status tables, bundles and file names. */
export const NAME_PATTERN = /^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/;
export const NAME_HINT =
  "start with a letter or digit, then letters, digits, '.', '_' or '-', at most 63 in all";

/** IFNAMSIZ in linux/if.h is 16, the end mark included. */
const INTERFACE_NAME_BYTES = 15;
export const INTERFACE_NAME_HINT = `use 1 to ${INTERFACE_NAME_BYTES} bytes without white space, '/', ':' or '%'`;

/** What dev_valid_name() in net/core/dev.c takes, less '%', which makes a pattern of the name. */
export function isInterfaceName(text: string): boolean {
  const bytes = Buffer.byteLength(text);
  return (
    bytes > 0 && bytes <= INTERFACE_NAME_BYTES && text !== "." && text !== ".." && !/[\s/:%\0]/.test(text)
  );
}

/** The candidate that is nearest to a word, at most two edits, and half of the word, away; null without any. */
export function closest(word: string, candidates: Iterable<string>): string | null {
  let best: string | null = null;
  let bestDistance = Math.min(2, Math.floor(word.length / 2)) + 1;
  for (const candidate of candidates) {
    if (Math.abs(candidate.length - word.length) >= bestDistance) continue;
    const distance = editDistance(word.toLowerCase(), candidate.toLowerCase());
    if (distance < bestDistance) {
      best = candidate;
      bestDistance = distance;
    }
  }
  return best;
}

/** Damerau-Levenshtein distance (optimal string alignment): a swap of neighbours is one edit. */
function editDistance(a: string, b: string): number {
  let beforeLast: number[] = [];
  let last = Array.from({ length: b.length + 1 }, (_, index) => index);
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const replace = at(last, j - 1) + (a[i - 1] === b[j - 1] ? 0 : 1);
      let cost = Math.min(at(last, j) + 1, at(row, j - 1) + 1, replace);
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1])
        cost = Math.min(cost, at(beforeLast, j - 2) + 1);
      row.push(cost);
    }
    beforeLast = last;
    last = row;
  }
  return at(last, b.length);
}

function at(row: readonly number[], index: number): number {
  return row[index] ?? Number.POSITIVE_INFINITY;
}
