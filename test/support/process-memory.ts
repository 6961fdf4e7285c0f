import { closeSync, openSync, readFileSync, readSync } from "node:fs";

/** Bytes read of a process at once. */
const CHUNK = 1 << 22;

/**
 * Counts how often each of `wanted` is in the memory of a process, as a core dump or gcore(1) would have it. Nothing of it
 * is kept here.
 */
export function countInMemory(pid: number, wanted: readonly Buffer[]): number[] {
  const counts = wanted.map(() => 0);
  const longest = Math.max(...wanted.map(({ length }) => length));
  const fd = openSync(`/proc/${pid}/mem`, "r");
  try {
    const buffer = Buffer.alloc(CHUNK + longest);
    for (const [from, to] of readableParts(pid)) {
      for (let at = from; at < to; at += CHUNK) {
        const length = readWhat(fd, buffer, at, Math.min(CHUNK + longest - 1, to - at));
        wanted.forEach((bytes, index) => {
          // What begins in the part that the next chunk has too is counted there.
          for (let found = buffer.indexOf(bytes); found >= 0; found = buffer.indexOf(bytes, found + 1))
            if (found < CHUNK && found + bytes.length <= length) counts[index] = (counts[index] ?? 0) + 1;
        });
        buffer.fill(0, 0, length);
      }
    }
  } finally {
    closeSync(fd);
  }
  return counts;
}

function readWhat(fd: number, buffer: Buffer, at: number, length: number): number {
  try {
    return readSync(fd, buffer, 0, length, at);
  } catch {
    return 0; // a part without memory behind it, or gone since
  }
}

function readableParts(pid: number): [number, number][] {
  return readFileSync(`/proc/${pid}/maps`, "latin1")
    .split("\n")
    .flatMap((line): [number, number][] => {
      const [, from, to] = /^([0-9a-f]+)-([0-9a-f]+) r.*(?<!\[v(?:var|syscall)\])$/.exec(line) ?? [];
      return from && to ? [[Number.parseInt(from, 16), Number.parseInt(to, 16)]] : [];
    });
}
