/** DSCP and ECN from the inner packet to the outer one, and back. */
import test from "ava";
import { Engine } from "./engine.js";
import { frame } from "./frames.js";
import * as p from "./ip-packets.js";

const NOT_ECT = 0;
const ECT_1 = 1;
const ECT_0 = 2;
const CE = 3;

/** RFC 6040 figure 4: what each inner field becomes with each outer one, in this order; null where the packet is dropped. */
const OUTER = [NOT_ECT, ECT_0, ECT_1, CE];
const FIGURE_4: readonly (readonly [number, readonly (number | null)[]])[] = [
  [NOT_ECT, [NOT_ECT, NOT_ECT, NOT_ECT, null]],
  [ECT_0, [ECT_0, ECT_0, ECT_1, CE]],
  [ECT_1, [ECT_1, ECT_1, ECT_1, CE]],
  [CE, [CE, CE, CE, CE]],
];
/** Expedited forwarding within, and another without, as a network on the way may set it. */
const DSCP = 46 << 2;
const OUTER_DSCP = 10 << 2;

for (const family of [4, 6] as const) {
  const packet = (tos: number) =>
    p.build({ family, protocol: "udp", payload: Buffer.from("payload"), tos, flowLabel: 0x12345 });

  test(`IPv${family}: a tunnel's outer packet gets the inner one's DSCP and ECN, also that of a GSO packet`, (t) => {
    for (const waits of [true, false]) {
      const engine = new Engine({ waits });
      for (let tos = 0; tos < 256; tos++) {
        engine.seal(frame(packet(tos)));
        t.is(engine.tos, tos);
        engine.sealAll(p.gsoFrame({ family, payload: Buffer.alloc(3000), tos: tos ^ 0xff }, 1000));
        t.is(engine.tos, tos ^ 0xff);
      }
      engine.close();
    }
  });

  for (const [inner, row] of FIGURE_4) {
    test(`IPv${family}, inner ECN ${inner}: the outer one is taken over as RFC 6040 has it, and no DSCP`, (t) => {
      for (const [i, outer] of OUTER.entries()) {
        const engine = new Engine();
        const esp = engine.seal(frame(packet(DSCP | inner))) as Buffer;
        const becomes = row[i] as number | null;
        t.deepEqual(
          engine.open(esp, 0, OUTER_DSCP | outer),
          becomes === null ? null : frame(packet(DSCP | becomes)),
          `outer ${outer}`,
        );
        t.deepEqual(engine.counted(), becomes === null ? { XfrmInHdrError: 1 } : {});
        engine.close();
      }
    });
  }

  test(`IPv${family}: in transport mode there is one header, whose DSCP and ECN stay what they became`, (t) => {
    const outer = family === 4 ? (["10.0.0.1", "10.1.0.1"] as const) : (["fd00:1::", "fd00:2::"] as const);
    const engine = new Engine({ mode: "transport", outer });
    const plain = p.build({ family, protocol: "udp", tos: DSCP | ECT_0 });
    const esp = engine.seal(frame(plain)) as Buffer;
    t.is(engine.tos, DSCP | ECT_0);
    const opened = engine.open(esp, 0, OUTER_DSCP | CE) as Buffer;
    t.deepEqual(opened, frame(p.build({ family, protocol: "udp", tos: OUTER_DSCP | CE })));
    engine.close();
  });
}
