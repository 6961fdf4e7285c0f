import test from "ava";
import fc from "fast-check";
import { fold16, PacketSlab, swap16 } from "../../src/sys/packet-slab.js";

/** RFC 1071, one 16-bit word at a time, in network order. */
function reference(bytes: Uint8Array): number {
  let sum = 0;
  for (let i = 0; i < bytes.length; i += 2) {
    sum += ((bytes[i] ?? 0) << 8) | (bytes[i + 1] ?? 0);
    sum = (sum & 0xffff) + (sum >>> 16);
  }
  return sum;
}

test("a sum of any length and at any offset is that of RFC 1071", (t) => {
  const slab = new PacketSlab(65536);
  fc.assert(
    fc.property(
      fc.uint8Array({ minLength: 0, maxLength: 300 }),
      fc.nat(40),
      fc.nat(0xffff),
      (data, offset, seed) => {
        slab.bytes.fill(0xee);
        slab.bytes.set(data, offset);
        const expected = fold16(reference(data) + seed);
        return slab.sum(offset, data.length, swap16(seed)) === swap16(expected);
      },
    ),
  );
  t.pass();
});

test("the largest packet of all ones does not overflow the sum", (t) => {
  const slab = new PacketSlab(65536);
  slab.bytes.fill(0xff);
  t.is(slab.sum(0, 65534, 0x7fffffff), fold16(0xffff + 0x7fffffff));
});

test("what lies before and behind the bytes does not matter", (t) => {
  const slab = new PacketSlab(65536);
  for (let length = 0; length < 70; length++) {
    slab.bytes.fill(1);
    slab.bytes.fill(0, 100, 100 + length);
    t.is(slab.sum(100, length, 0), 0, `length ${length}`);
  }
});
