import test from "ava";
import { innerMtu, paddingFor, writeTrailer } from "../../src/esp/packet.js";

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

for (const [family, outer] of [
  [4, 20 + 8],
  [6, 40 + 8],
] as const) {
  test(`the inner MTU over IPv${family} fills every underlay as far as the alignment lets it`, (t) => {
    const size = (inner: number): number => outer + 16 + inner + paddingFor(inner) + 2 + 16;
    for (let mtu = 576; mtu <= 9216; mtu++) {
      const inner = innerMtu(mtu, family);
      if (size(inner) > mtu || size(inner + 1) <= mtu) t.fail(`underlay of ${mtu}: inner ${inner}`);
    }
    t.is(innerMtu(1500, 4), 1438);
  });
}
