import test from "ava";
import { espSize, paddingFor, writeTrailer } from "../../src/esp/packet.js";

test("the trailer ends on a 4-byte boundary for every payload length", (t) => {
  for (let length = 0; length <= 65535; length++) {
    const padding = paddingFor(length);
    if (padding < 0 || padding > 3 || (length + padding + 2) % 4 !== 0) {
      t.fail(`length ${length}: padding ${padding}`);
    }
  }
  t.pass();
});

for (const [length, expected] of [
  [40, [1, 2, 2, 4]],
  [41, [1, 1, 4]],
  [42, [0, 4]],
  [43, [1, 2, 3, 3, 4]],
] as const) {
  test(`padding behind ${length} bytes counts from 1 and is followed by its length and the next header`, (t) => {
    const bytes = new Uint8Array(64).fill(0xee);
    const written = writeTrailer(bytes, length, length, 4);
    t.deepEqual([...bytes.subarray(length, length + written)], [...expected]);
    t.is(bytes[length + written], 0xee);
  });
}

test("an ESP packet is 16 bytes of header and IV, the padded payload and 16 bytes of ICV", (t) => {
  t.is(espSize(42), 16 + 44 + 16);
  t.is(espSize(43), 16 + 48 + 16);
});
