import test from "ava";
import { PathMtu, type PathState } from "../../src/esp/path-mtu.js";
import type { TooBig } from "../../src/esp/too-big.js";
import { PacketSlab } from "../../src/sys/packet-slab.js";

const PACKET = 64;

/** Which MTUs packets of these sizes are answered with by an SA that is told of a path which leaves `longest` bytes. */
function answers(version: 4 | 6, longest: number, sizes: readonly number[]): (number | null)[] {
  const slab = new PacketSlab(2048);
  slab.view.setUint8(PACKET, version === 4 ? 0x45 : 0x60);
  if (version === 4) slab.view.setUint16(PACKET + 6, 0x4000); // DF
  let said: number | null = null;
  const tooBig = { send: (...[, , , mtu]: Parameters<TooBig["send"]>) => (said = mtu) } as unknown as TooBig;
  const path = new PathMtu(slab, tooBig);
  const destination = { mtuUntil: Number.POSITIVE_INFINITY } as PathState["destination"];
  const state = { destination, longest } as PathState;
  return sizes.map((size) => {
    said = null;
    const refused = path.refuses(state, 0, PACKET, size);
    return refused ? said : null;
  });
}

test("of IPv4 no sender is asked for packets below 576 bytes, however little a path is said to take", (t) => {
  for (const longest of [6, -10, 490]) t.deepEqual(answers(4, longest, [576, 577]), [null, 576]);
  t.deepEqual(answers(4, 1238, [1238, 1239]), [null, 1238]);
});

test("of IPv6 no sender is asked for packets below 1280 bytes", (t) => {
  for (const longest of [6, 1238]) t.deepEqual(answers(6, longest, [1280, 1281]), [null, 1280]);
  t.deepEqual(answers(6, 1300, [1300, 1301]), [null, 1300]);
});
