import test from "ava";
import { completeChecksum } from "../../src/esp/checksum.js";
import { random } from "./frames.js";

/** RFC 1071, one 16-bit word at a time. */
function reference(bytes: Uint8Array): number {
  let sum = 0;
  for (let i = 0; i < bytes.length; i += 2) {
    sum += ((bytes[i] ?? 0) << 8) | (bytes[i + 1] ?? 0);
    sum = (sum & 0xffff) + (sum >>> 16);
  }
  return ~sum & 0xffff;
}

test("a checksum of any length and at any offset is that of RFC 1071", (t) => {
  const next = random(11);
  for (let length = 2; length < 400; length++) {
    const start = next() % 9;
    const bytes = new Uint8Array(start + length + 4).map(() => next());
    const field = start + 2 * (next() % Math.floor(length / 2));
    const expected = reference(bytes.subarray(start, start + length)) || 0xffff;
    const after = bytes[start + length];
    const view = new DataView(bytes.buffer);
    completeChecksum(view, start, start + length, field);
    t.is(view.getUint16(field), expected, `length ${length}`);
    t.is(bytes[start + length], after);
  }
});

test("a checksum that comes to 0 is sent as 0xffff, for 0 means none in UDP", (t) => {
  const view = new DataView(Uint8Array.of(0xff, 0xff, 0, 0).buffer);
  completeChecksum(view, 0, 4, 2);
  t.is(view.getUint16(2), 0xffff);
});

test("the largest packet of all ones does not overflow the sum", (t) => {
  const bytes = new Uint8Array(65534).fill(0xff);
  const expected = reference(bytes) || 0xffff;
  const view = new DataView(bytes.buffer);
  completeChecksum(view, 0, bytes.length, 0);
  t.is(view.getUint16(0), expected);
});
