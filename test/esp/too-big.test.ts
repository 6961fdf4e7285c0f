import test, { type ExecutionContext } from "ava";
import { FRAME_HEADER_SIZE, readShim, SHIM_TAG, tagOf } from "../../src/esp/framing.js";
import { TooBig } from "../../src/esp/too-big.js";
import { PacketSlab } from "../../src/sys/packet-slab.js";
import { FakeTun } from "./fake-tun.js";
import { frame, ipv4, ipv6 } from "./frames.js";

const MTU = 1300;

/** @returns what answers a packet, as a frame; null for nothing */
function setUp(t: ExecutionContext): (packet: Buffer) => Buffer | null {
  const tun = new FakeTun();
  t.teardown(() => tun.close());
  const slab = new PacketSlab(2 ** 16);
  const answers = new TooBig(slab, tun.fd);
  return (packet) => {
    slab.bytes.set(frame(packet, { ifId: 101, tag: tagOf(7) }), 100);
    answers.send(100, 100 + FRAME_HEADER_SIZE, packet.length, MTU);
    return tun.receive(0);
  };
}

const changed = (packet: Buffer, at: number, ...bytes: number[]): Buffer => {
  packet.set(bytes, at);
  return packet;
};

test("an answer goes to the packet's sender, names the MTU and quotes the packet's beginning", (t) => {
  const answer = setUp(t);
  const to4 = answer(ipv4(1400))?.subarray(FRAME_HEADER_SIZE) ?? Buffer.alloc(0);
  t.is(to4.length, 576);
  t.deepEqual([...to4.subarray(12, 20)], [10, 1, 0, 1, 10, 0, 0, 1]);
  t.deepEqual([to4[20], to4[21], to4.readUInt32BE(24)], [3, 4, MTU]);
  t.deepEqual(to4.subarray(28), ipv4(1400).subarray(0, 576 - 28));
  const to6 = answer(ipv6(1400))?.subarray(FRAME_HEADER_SIZE) ?? Buffer.alloc(0);
  t.is(to6.length, 1280);
  t.is(to6.toString("hex", 8, 12) + to6.toString("hex", 24, 28), "fd000002fd000001");
  t.deepEqual([to6[40], to6[41], to6.readUInt32BE(44)], [2, 0, MTU]);
  t.deepEqual(to6.subarray(48), ipv6(1400).subarray(0, 1280 - 48));
});

const unanswered: Readonly<Record<string, Buffer>> = {
  "an ICMP error": changed(changed(ipv4(1400), 9, 1), 20, 3),
  "a later fragment": changed(ipv4(1400), 6, 0x40, 1),
  "an IPv4 packet to a group": changed(ipv4(1400), 16, 224),
  "an IPv4 packet from nobody": changed(ipv4(1400), 12, 0, 0, 0, 0),
  "an ICMPv6 error": changed(changed(ipv6(1400), 6, 58), 40, 1),
  "an IPv6 packet to a group": changed(ipv6(1400), 24, 0xff, 2),
  "an IPv6 packet from nobody": changed(ipv6(1400), 8, ...Buffer.alloc(16)),
};

for (const [name, packet] of Object.entries(unanswered)) {
  test(`no answer to ${name}`, (t) => {
    t.is(setUp(t)(packet), null);
  });
}

test("a ping is answered, of either family", (t) => {
  const answer = setUp(t);
  t.truthy(answer(changed(changed(ipv4(1400), 9, 1), 20, 8)));
  t.truthy(answer(changed(changed(ipv6(1400), 6, 58), 40, 128)));
});

test("an answer is of the connection and the epoch of the frame that it answers", (t) => {
  const answer = setUp(t)(ipv4(1400)) as Buffer;
  t.is(answer.readInt32BE(SHIM_TAG), tagOf(7));
  t.is(readShim(answer.subarray(SHIM_TAG))?.ifId, 101);
});

test("there are not so many answers as a sender likes", (t) => {
  const slab = new PacketSlab(2 ** 16);
  slab.bytes.set(frame(ipv4(1400)));
  const tun = new FakeTun();
  t.teardown(() => tun.close());
  let now = 1000;
  const answers = new TooBig(slab, tun.fd, () => now);
  const count = (): number => {
    let found = 0;
    for (let i = 0; i < 100; i++) {
      answers.send(0, FRAME_HEADER_SIZE, 1400, MTU);
      if (tun.receive(0) !== null) found++;
    }
    return found;
  };
  t.is(count(), 50);
  now += 10;
  t.is(count(), 10);
});
