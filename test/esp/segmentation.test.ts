import test from "ava";
import fc from "fast-check";
import * as framing from "../../src/esp/framing.js";
import { Segmenter } from "../../src/esp/segmentation.js";
import { PacketSlab } from "../../src/sys/packet-slab.js";
import { random } from "./frames.js";
import * as p from "./ip-packets.js";

const FRAME = 6;

function segments(frame: Uint8Array): Buffer[] | null {
  const slab = new PacketSlab(2 ** 17);
  slab.bytes.set(frame, FRAME);
  const segmenter = new Segmenter(slab);
  if (!segmenter.start(FRAME, frame.length)) return null;
  const found: Buffer[] = [];
  for (let index = 0; index < segmenter.segments; index++) {
    const at = segmenter.write(index);
    found.push(Buffer.from(slab.bytes.slice(at, at + segmenter.size)));
  }
  return found;
}

const bytes = (length: number, seed = 1): Buffer => {
  const next = random(seed);
  return Buffer.from(Uint8Array.from({ length }, () => next()));
};

const timestamps = Buffer.from([1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2]);

for (const [name, options, size] of [
  ["TCP over IPv4", {}, 1000],
  ["TCP over IPv6", { family: 6 }, 1000],
  ["UDP over IPv4", { protocol: "udp" }, 1000],
  ["UDP over IPv6", { protocol: "udp", family: 6 }, 1000],
  ["TCP with timestamps", { options: timestamps }, 1448],
  ["FIN and PSH, kept for the last segment", { flags: p.ACK | p.FIN | p.PSH }, 1000],
  ["CWR, kept for the first segment", { flags: p.ACK | p.CWR | p.ECE }, 1000],
  ["URG with its pointer in every segment", { flags: p.ACK | p.URG, urgent: 9 }, 1000],
  ["sequence numbers that wrap", { sequence: 0xffffff00 }, 1000],
  ["identifiers that wrap", { id: 0xfffe }, 1000],
  ["IPv4 options", { ipOptions: Buffer.from([7, 7, 4, 0, 0, 0, 0, 0]) }, 1000],
  ["ECN and DSCP", { tos: 0xb9 }, 1000],
  ["traffic class and flow label", { family: 6, tos: 0xb9, flowLabel: 0x12345 }, 1000],
  ["segments shorter than their headers", { options: timestamps }, 7],
  ["one segment", {}, 9000],
  ["odd lengths", { protocol: "udp" }, 333],
] as [string, p.TransportOptions, number][]) {
  test(`a GSO packet is cut as the kernel would: ${name}`, (t) => {
    const whole = { ...options, payload: bytes(5003) };
    t.deepEqual(segments(p.gsoFrame(whole, size)), p.plainSegments(whole, size));
  });
}

test("any GSO packet is cut as the kernel would", (t) => {
  const options = fc.record({
    family: fc.constantFrom(4 as const, 6 as const),
    protocol: fc.constantFrom("tcp" as const, "udp" as const),
    payload: fc.integer({ min: 1, max: 20_000 }).map((length) => bytes(length, length)),
    sequence: fc.nat(0xffffffff),
    acknowledgment: fc.nat(0xffffffff),
    flags: fc.nat(0xff),
    window: fc.nat(0xffff),
    options: fc.nat(10).map((words) => bytes(words * 4, words + 1)),
    id: fc.nat(0xffff),
    df: fc.boolean(),
    tos: fc.nat(255),
    ttl: fc.nat(255),
    sourcePort: fc.nat(0xffff),
  });
  fc.assert(
    fc.property(options, fc.integer({ min: 40, max: 9000 }), (whole, size) => {
      t.deepEqual(segments(p.gsoFrame(whole, size)), p.plainSegments(whole, size));
    }),
    { numRuns: 200 },
  );
});

test("the largest GSO packet is cut whole", (t) => {
  const whole = { payload: bytes(65535 - 40) };
  t.deepEqual(segments(p.gsoFrame(whole, 1398)), p.plainSegments(whole, 1398));
});

for (const [name, mutate] of [
  ["a type that was not offered", (frame) => frame.writeUInt8(3, framing.VNET_GSO_TYPE)],
  ["the type of the other family", (frame) => frame.writeUInt8(4, framing.VNET_GSO_TYPE)],
  ["no checksum to complete", (frame) => frame.writeUInt8(0, framing.VNET_FLAGS)],
  ["a segment size of 0", (frame) => frame.writeUInt16LE(0, framing.VNET_GSO_SIZE)],
  ["a checksum outside its header", (frame) => frame.writeUInt16LE(14, framing.VNET_CSUM_OFFSET)],
  ["a transport header in front of the packet", (frame) => frame.writeUInt16LE(0, framing.VNET_CSUM_START)],
  ["a transport header inside the IP header", (frame) => frame.writeUInt16LE(20, framing.VNET_CSUM_START)],
  ["a transport header behind the end", (frame) => frame.writeUInt16LE(5000, framing.VNET_CSUM_START)],
  ["a TCP header that is too short", (frame) => frame.writeUInt8(0x40, framing.FRAME_HEADER_SIZE + 32)],
  ["a TCP header longer than the packet", (frame) => frame.writeUInt8(0xf0, framing.FRAME_HEADER_SIZE + 32)],
] as [string, (frame: Buffer) => void][]) {
  test(`a GSO packet with ${name} is refused`, (t) => {
    const frame = p.gsoFrame({ payload: bytes(20) }, 10);
    t.is(segments(frame)?.length, 2);
    mutate(frame);
    t.is(segments(frame), null);
  });
}
