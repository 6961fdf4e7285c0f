import { closeSync, readSync } from "node:fs";
import { openRegular } from "../sys/regular-file.js";
import { MAX_FLOW_BYTES } from "./read-error.js";

/** Bytes read at once. */
const CHUNK = 1 << 20;
/** Longer than any line of a flow file; a file without line ends must not be taken into memory whole. */
export const LONGEST_LINE = 4096;

/**
 * Called for each line; its bytes are bytes[start, end), without the line end (LF or CRLF), and are overwritten after
 * the call. Lines count from 1. A line of more than LONGEST_LINE bytes is handed out cut off, with `end - start` greater.
 */
export type LineVisitor = (bytes: Buffer, start: number, end: number, line: number) => void;

/** Reads a file line by line, in constant memory. @throws RegularFileError, and what open(2) and read(2) say, with `code` */
export function forEachLine(file: string, visit: LineVisitor): void {
  const fd = openRegular(file, MAX_FLOW_BYTES);
  try {
    forEachLineOf(fd, visit);
  } finally {
    closeSync(fd);
  }
}

/** As `forEachLine`, of bytes that are in memory. */
export function forEachLineIn(bytes: Buffer, visit: LineVisitor): void {
  let line = 1;
  for (let start = 0; start < bytes.length; line++) {
    const found = bytes.indexOf(0x0a, start);
    const end = found < 0 ? bytes.length : found;
    visit(bytes, start, end > start && bytes[end - 1] === 0x0d ? end - 1 : end, line);
    start = end + 1;
  }
}

function forEachLineOf(fd: number, visit: LineVisitor): void {
  const buffer = Buffer.allocUnsafe(CHUNK + LONGEST_LINE + 1);
  let line = 1;
  /** Bytes of an unfinished line at the front of the buffer. */
  let held = 0;
  /** Inside of a line that was handed out cut off. */
  let skipping = false;
  const hand = (start: number, end: number) => {
    if (!skipping) visit(buffer, start, end > start && buffer[end - 1] === 0x0d ? end - 1 : end, line);
    skipping = false;
    line++;
  };
  for (;;) {
    const count = readSync(fd, buffer, held, CHUNK, null);
    if (count === 0) break;
    const filled = held + count;
    let start = 0;
    for (;;) {
      const end = buffer.indexOf(0x0a, start);
      if (end < 0 || end >= filled) break;
      hand(start, end);
      start = end + 1;
    }
    if (filled - start > LONGEST_LINE) {
      if (!skipping) visit(buffer, start, filled, line);
      skipping = true;
      start = filled;
    }
    buffer.copyWithin(0, start, filled);
    held = filled - start;
  }
  if (held > 0 || skipping) hand(0, held);
}
