/** Datagrams received together lie next to each other, and each gets a frame's header in front. */
import { randomBytes } from "node:crypto";
import test from "ava";
import { Coalescer } from "../../src/esp/coalescer.js";
import { Inbound } from "../../src/esp/inbound.js";
import { SUITE_NAMES } from "../../src/esp/suite.js";
import { Engine } from "./engine.js";
import { frame } from "./frames.js";
import * as p from "./ip-packets.js";
import { gather, packetsOf } from "./written.js";

const MESSAGE = 128;
const COUNT = 10;
/** Neither mode needs padding then, which would be room as well. */
const PAYLOAD = 1002;
/** Transport mode leaves out the IP header, and the receiver writes one of its own. */
const IP_HEADER = 20;

for (const suite of SUITE_NAMES)
  for (const mode of ["tunnel", "transport"] as const)
    test(`no header lies over the packet before it: ${suite}, ${mode} mode`, (t) => {
      const engine = new Engine({ suite, mode, outer: ["10.0.0.1", "10.1.0.1"] });
      const { slab, counters, entries } = engine;
      const packets = p.plainSegments({ payload: randomBytes(COUNT * PAYLOAD) }, PAYLOAD);
      const whole = Buffer.concat(engine.sealAll(...packets.map((packet) => frame(packet))));
      const frames: Buffer[] = [];
      const coalescer = new Coalescer(
        slab,
        (vector, count) => frames.push(gather(slab, vector, count)),
        true,
      );
      const inbound = new Inbound(slab, counters, () => coalescer.flush());
      slab.bytes.set(whole, MESSAGE);
      inbound.takeMessage(MESSAGE, whole.length, whole.length / COUNT, entries, 0, 0, coalescer);
      inbound.finish(coalescer);
      coalescer.flush();
      const behindIp = (packet: Buffer) => packet.subarray(IP_HEADER);
      t.deepEqual(frames.flatMap(packetsOf).map(behindIp), packets.map(behindIp));
      t.deepEqual(engine.counted(), {});
      engine.close();
    });
