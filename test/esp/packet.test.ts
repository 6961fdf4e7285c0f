import test from "ava";
import { innerMtu, type Mode, paddingFor, writeTrailer } from "../../src/esp/packet.js";
import { SUITE_NAMES, SUITES } from "../../src/esp/suite.js";

for (const alignment of [4, 16]) {
  test(`the trailer ends on a ${alignment}-byte boundary for every payload length`, (t) => {
    for (let length = 0; length <= 65535; length++) {
      const padding = paddingFor(length, alignment);
      if (padding < 0 || padding >= alignment || (length + padding + 2) % alignment !== 0) {
        t.fail(`length ${length}: padding ${padding}`);
      }
    }
    t.pass();
  });
}

for (const [length, expected] of [
  [40, [1, 2, 2, 4]],
  [41, [1, 1, 4]],
  [42, [0, 4]],
  [43, [1, 2, 3, 3, 4]],
] as const) {
  test(`padding behind ${length} bytes counts from 1 and is followed by its length and the next header`, (t) => {
    const bytes = new Uint8Array(64).fill(0xee);
    const written = writeTrailer(bytes, length, paddingFor(length, 4), 4);
    t.deepEqual([...bytes.subarray(length, length + written)], [...expected]);
    t.is(bytes[length + written], 0xee);
  });
}

for (const suite of SUITE_NAMES) {
  test(`${suite}: the inner MTU fills every underlay as far as the alignment lets it, in every mode and family`, (t) => {
    const { ivSize, icvSize, alignment } = SUITES[suite];
    for (const mode of ["tunnel", "transport", "beet"] satisfies Mode[])
      for (const [outerFamily, innerFamily] of [
        [4, 4],
        [4, 6],
        [6, 4],
        [6, 6],
      ] as const) {
        const header = { 4: 20, 6: 40 } as const;
        const size = (inner: number): number => {
          const payload = mode === "tunnel" ? inner : inner - header[innerFamily];
          return (
            header[outerFamily] + 8 + 8 + ivSize + payload + paddingFor(payload, alignment) + 2 + icvSize
          );
        };
        for (let mtu = 576; mtu <= 9216; mtu += 7) {
          const inner = innerMtu(mtu, { suite, mode, encapsulation: "udp", outerFamily, innerFamily });
          if (size(inner) > mtu || size(inner + 1) <= mtu)
            t.fail(`${mode}, underlay of ${mtu}: inner ${inner}`);
        }
      }
    t.pass();
  });
}

test("AES-GCM in UDP over IPv4 leaves 1438 bytes of 1500, and without UDP 8 more", (t) => {
  const wrapping = { suite: "aes128-gcm", mode: "tunnel", outerFamily: 4, innerFamily: 4 } as const;
  t.is(innerMtu(1500, { ...wrapping, encapsulation: "udp" }), 1438);
  t.is(innerMtu(1500, { ...wrapping, encapsulation: "none" }), 1446);
});
