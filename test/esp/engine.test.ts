import { createDecipheriv } from "node:crypto";
import test from "ava";
import { chooseBackend } from "../../src/esp/aead.js";
import { outboundTable, withdrawAllBut } from "../../src/esp/database.js";
import {
  FRAME_HEADER_SIZE,
  SHIM_IF_ID,
  SHIM_LINK,
  SHIM_SIZE,
  SHIM_TAG,
  tagOf,
} from "../../src/esp/framing.js";
import { A, B, Engine, type EngineOptions, IF_ID, policyAt, SPI } from "./engine.js";
import { type FrameOptions, frame, ipv4, ipv6 } from "./frames.js";
import { gsoFrame } from "./ip-packets.js";

/** Packets made by hand rather than by our sealer. */
function forge(engine: Engine, sequence: number, text: Uint8Array): Buffer {
  const slab = engine.slab;
  const packet = 4096;
  slab.view.setUint32(packet, SPI);
  slab.view.setUint32(packet + 4, sequence);
  slab.view.setUint32(packet + 8, 7);
  slab.view.setUint32(packet + 12, sequence);
  slab.bytes.set(text, 8192);
  engine.out.sealer.seal(packet, 0, 8192, text.length);
  return Buffer.from(slab.bytes.slice(packet, packet + 16 + text.length + 16));
}

function sealed(engine: Engine, packet: Uint8Array): Buffer {
  const esp = engine.seal(frame(packet));
  if (esp === null) throw new Error("the engine dropped what it was to seal");
  return esp;
}

for (const backend of [chooseBackend("openssl"), chooseBackend("node")]) {
  for (const suite of ["aes128-gcm", "aes256-gcm"] as const) {
    test(`${suite} on ${backend.name}: a packet of every length comes out as it went in`, (t) => {
      const engine = new Engine({ suite, backend });
      for (let size = 20; size <= 1500; size += size < 140 ? 1 : 37) {
        for (const packet of size >= 40 ? [ipv4(size), ipv6(size)] : [ipv4(size)]) {
          const esp = sealed(engine, packet);
          t.is(esp.length, 16 + Math.ceil((size + 2) / 4) * 4 + 16);
          t.deepEqual(engine.open(esp, 3), frame(packet, { link: 3 }));
        }
      }
      t.deepEqual(engine.counted(), {});
      t.is(engine.out.traffic.packets, engine.in.traffic.packets);
      t.is(engine.out.traffic.bytes, engine.in.traffic.bytes);
      engine.close();
    });
  }
}

test("the largest IP packet is sealed whole", (t) => {
  const engine = new Engine();
  t.deepEqual(engine.open(sealed(engine, ipv4(65535))), frame(ipv4(65535)));
  engine.close();
});

test("node:crypto on its own decrypts a sealed packet by RFC 4106", (t) => {
  const engine = new Engine({ iv: [0x01020304, 0x05060708] });
  const esp = sealed(engine, ipv4(61));
  const keymat = new Uint8Array(20).map((_, index) => index * 7 + 1);
  t.is(esp.readUInt32BE(0), SPI);
  t.is(esp.readUInt32BE(4), 1);
  const nonce = Buffer.concat([keymat.subarray(16), esp.subarray(8, 16)]);
  const decipher = createDecipheriv("aes-128-gcm", keymat.subarray(0, 16), nonce);
  decipher.setAAD(esp.subarray(0, 8));
  decipher.setAuthTag(esp.subarray(-16));
  const text = Buffer.concat([decipher.update(esp.subarray(16, -16)), decipher.final()]);
  t.deepEqual(text, Buffer.concat([ipv4(61), Buffer.from([1, 1, 4])]));
  engine.close();
});

test("sequence numbers count from 1 and the IV never repeats, also across the low word's overflow", (t) => {
  const engine = new Engine({ iv: [0xffffffff, 0xfffffffd] });
  const ivs = [1, 2, 3, 4].map((sequence) => {
    const esp = sealed(engine, ipv4(40));
    t.is(esp.readUInt32BE(4), sequence);
    return esp.subarray(8, 16).toString("hex");
  });
  t.deepEqual(ivs, ["fffffffffffffffe", "ffffffffffffffff", "0000000000000000", "0000000000000001"]);
  engine.close();
});

test("an SA stops at its last sequence number instead of starting again", (t) => {
  const engine = new Engine({ sequence: 0xfffffffe });
  t.is(sealed(engine, ipv4(40)).readUInt32BE(4), 0xffffffff);
  t.is(engine.seal(frame(ipv4(40))), null);
  t.is(engine.seal(frame(ipv4(40))), null);
  t.is(engine.out.sequence, 0xffffffff);
  t.deepEqual(engine.counted(), { XfrmOutStateSeqError: 2 });
  engine.close();
});

const outboundDrops: [string, EngineOptions, FrameOptions, Record<string, number>][] = [
  ["a frame of another epoch", {}, { tag: tagOf(1) }, { txOtherEpoch: 1 }],
  ["zeroes in place of the shim's tag", {}, { tag: 0 }, { txNoShim: 1 }],
  ["an if_id without a policy", {}, { ifId: 102 }, { txCarrierErrors: 1 }],
  ["if_id 0", {}, { ifId: 0 }, { txCarrierErrors: 1 }],
  ["a policy without an SA", { ifId: 7 }, {}, { XfrmOutNoStates: 1, txCarrierErrors: 1 }],
  [
    "an SA to other endpoints than the policy's",
    { outPolicies: [policyAt("out", A, "192.0.2.3")] },
    {},
    { XfrmOutNoStates: 1, txCarrierErrors: 1 },
  ],
  [
    "a packet that a policy blocks",
    { outPolicies: [{ ...policyAt("out", A, B), template: null }] },
    {},
    { XfrmOutPolBlock: 1 },
  ],
  ["a packet that the TUN device cut", {}, { piFlags: 1 }, { XfrmOutError: 1 }],
  ["a protocol other than IP", {}, { proto: 0x0806 }, { XfrmOutError: 1 }],
  ["a segmentation that was never offered", {}, { gsoType: 1 }, { XfrmOutError: 1 }],
  [
    "a checksum field outside the packet",
    {},
    { vnetFlags: 1, csumStart: SHIM_SIZE + 20, csumOffset: 19 },
    { XfrmOutError: 1 },
  ],
  [
    "a checksum that starts inside the shim",
    {},
    { vnetFlags: 1, csumStart: SHIM_SIZE - 1, csumOffset: 6 },
    { XfrmOutError: 1 },
  ],
];

for (const [name, engineOptions, frameOptions, counted] of outboundDrops) {
  test(`transmit drops and counts ${name}`, (t) => {
    const engine = new Engine(engineOptions);
    t.is(engine.seal(frame(ipv4(40), frameOptions)), null);
    t.deepEqual(engine.counted(), counted);
    t.is(engine.out.traffic.packets, 0);
    t.is(engine.out.sequence, 0);
    engine.close();
  });
}

test("transmit drops and counts a frame that ends before its IP packet", (t) => {
  const engine = new Engine();
  for (const length of [1, FRAME_HEADER_SIZE - 1, FRAME_HEADER_SIZE])
    t.is(engine.seal(frame(ipv4(40)).subarray(0, length)), null);
  t.deepEqual(engine.counted(), { XfrmOutError: 3 });
  engine.close();
});

test("transmit drops and counts packets without a shim, whatever their first bytes say", (t) => {
  const engine = new Engine();
  const packets = [ipv4(100), ipv6(100), Buffer.alloc(100)];
  for (const packet of packets) {
    // Where the shim would be, the packet begins.
    const bare = Buffer.concat([frame(packet).subarray(0, SHIM_TAG), packet]);
    t.is(engine.seal(bare), null);
  }
  t.deepEqual(engine.counted(), { txNoShim: packets.length });
  engine.close();
});

test("frames of the epoch before are sent by its table, and by none once that is retired", (t) => {
  const engine = new Engine();
  const { outbound } = engine;
  outbound.previous = { tag: outbound.tag, table: outbound.table };
  outbound.table = outboundTable([policyAt("out", A, B, 102)], []);
  outbound.tag = tagOf(1);
  t.truthy(engine.seal(frame(ipv4(40))));
  t.is(engine.seal(frame(ipv4(40), { ifId: 102 })), null, "not there then");
  t.is(engine.seal(frame(ipv4(40), { tag: tagOf(1) })), null, "not there any more");
  t.is(engine.seal(frame(ipv4(40), { tag: tagOf(2) })), null);
  t.deepEqual(engine.counted(), { txCarrierErrors: 2, txOtherEpoch: 1 });
  outbound.previous = null;
  t.is(engine.seal(frame(ipv4(40))), null);
  t.is(engine.counted().txOtherEpoch, 2);
  engine.close();
});

test("a state that is withdrawn from a table is found no more by any of its policies", (t) => {
  const engine = new Engine();
  withdrawAllBut(engine.outbound.table, () => false);
  t.is(engine.seal(frame(ipv4(40))), null);
  t.deepEqual(engine.counted(), { txCarrierErrors: 1, XfrmOutNoStates: 1 });
  engine.close();
});

for (const [limits, sent] of [
  [{ packets: 3, bytes: Infinity }, 3],
  [{ packets: 5, bytes: Infinity }, 5],
  // Segments have 1040 bytes each; the one that goes over the limit still passes.
  [{ packets: Infinity, bytes: 2500 }, 3],
  [{ packets: Infinity, bytes: 3120 }, 3],
  [{ packets: Infinity, bytes: 5 * 1040 }, 5],
] as const) {
  for (const waits of [true, false]) {
    const how = `${limits.packets} packets and ${limits.bytes} bytes${waits ? ", sealed together" : ""}`;
    test(`of a GSO packet of 5 segments, ${sent} go before a hard limit of ${how}`, (t) => {
      const engine = new Engine({ limits, waits });
      const framed = gsoFrame({ payload: Buffer.alloc(5000, "payload") }, 1000);
      t.is(engine.sealAll(framed).length, sent);
      t.is(engine.out.traffic.packets, sent);
      t.is(engine.out.sequence, sent);
      t.deepEqual(engine.counted(), sent < 5 ? { XfrmOutStateExpired: 5 - sent } : {});
      t.is(engine.seal(frame(ipv4(40))), null, "the limit is reached");
      engine.close();
    });
  }
}

test("transmit completes a checksum that the stack left open, the shim taken off its start", (t) => {
  const engine = new Engine();
  const packet = ipv4(61);
  packet.writeUInt16BE(0x1234, 26);
  const plain = engine.open(sealed(engine, packet));
  const open = frame(packet, { vnetFlags: 1, csumStart: SHIM_SIZE + 20, csumOffset: 6 });
  const esp = engine.seal(open);
  t.truthy(esp);
  const done = engine.open(esp as Buffer);
  const field = FRAME_HEADER_SIZE + 26;
  let sum = 0;
  const segment = Buffer.concat([packet.subarray(20), Buffer.alloc(1)]);
  for (let i = 0; i < segment.length; i += 2) sum += segment.readUInt16BE(i);
  sum = (sum & 0xffff) + (sum >>> 16);
  t.is((done as Buffer).readUInt16BE(field), ~((sum & 0xffff) + (sum >>> 16)) & 0xffff);
  (done as Buffer).writeUInt16BE(0x1234, field);
  t.deepEqual(done, plain);
  engine.close();
});

test("receive drops and counts a packet whose SPI is unknown", (t) => {
  const engine = new Engine();
  const esp = sealed(engine, ipv4(40));
  esp.writeUInt32BE(SPI + 1, 0);
  t.is(engine.open(esp), null);
  t.deepEqual(engine.counted(), { XfrmInNoStates: 1 });
  engine.close();
});

test("receive drops and counts a replayed packet, and a packet that fell out of the window", (t) => {
  const engine = new Engine({ replayWindow: 32 });
  const packets = Array.from({ length: 40 }, () => sealed(engine, ipv4(40)));
  t.truthy(engine.open(packets[39] as Buffer));
  t.is(engine.open(packets[39] as Buffer), null);
  t.is(engine.open(packets[7] as Buffer), null);
  t.truthy(engine.open(packets[8] as Buffer));
  t.deepEqual(engine.counted(), { XfrmInStateSeqError: 2 });
  engine.close();
});

test("a forged packet with a high sequence number does not move the window", (t) => {
  const engine = new Engine({ replayWindow: 32 });
  const first = sealed(engine, ipv4(40));
  const forged = Buffer.from(first);
  forged.writeUInt32BE(0xfffffff0, 4);
  t.is(engine.open(forged), null);
  t.truthy(engine.open(first));
  t.deepEqual(engine.counted(), { XfrmInStateProtoError: 1 });
  engine.close();
});

test("NAT keepalives and packets with the non-ESP marker are counted and go nowhere", (t) => {
  const engine = new Engine();
  t.is(engine.open(Buffer.from([0xff])), null);
  t.is(engine.open(Buffer.from([0, 0, 0, 0])), null);
  t.is(engine.open(Buffer.concat([Buffer.alloc(4), ipv4(200)])), null);
  t.deepEqual(engine.counted(), { keepalives: 1, nonEspMarkers: 2 });
  engine.close();
});

test("receive drops and counts what is too short for an ESP header", (t) => {
  const engine = new Engine();
  const esp = sealed(engine, ipv4(40));
  for (const length of [0, 1, 3, 4, 7]) t.is(engine.open(esp.subarray(0, length)), null);
  t.deepEqual(engine.counted(), { XfrmInHdrError: 5 });
  engine.close();
});

const trailers: [string, number[], Record<string, number>][] = [
  ["padding longer than the packet", [...ipv4(20), 255, 4], { XfrmInStateProtoError: 1 }],
  ["padding that leaves no payload", [0, 0, 2, 4], { XfrmInStateProtoError: 1 }],
  ["a dummy packet", [...ipv4(20), 0, 59], { dummies: 1 }],
  ["a next header that tunnel mode has no use for", [...ipv4(20), 0, 6], { XfrmInStateModeError: 1 }],
  ["an IPv6 packet announced as IPv4", [...ipv6(40), 0, 4], { XfrmInStateModeError: 1 }],
  ["an IPv4 packet announced as IPv6", [...ipv4(40), 0, 41], { XfrmInStateModeError: 1 }],
  ["an IPv4 packet without a whole header", [...ipv4(20).subarray(0, 18), 0, 4], { XfrmInStateModeError: 1 }],
  [
    "an IPv6 packet without a whole header",
    [...ipv6(40).subarray(0, 38), 0, 41],
    { XfrmInStateModeError: 1 },
  ],
];

for (const [name, text, counted] of trailers) {
  test(`receive drops and counts, though authentic, ${name}`, (t) => {
    const engine = new Engine();
    t.is(engine.open(forge(engine, 1, Uint8Array.from(text))), null);
    t.deepEqual(engine.counted(), counted);
    engine.close();
  });
}

test("padding beyond the alignment is taken off", (t) => {
  const engine = new Engine();
  const padding = Array.from({ length: 200 }, (_, index) => index + 1);
  const esp = forge(engine, 1, Uint8Array.from([...ipv4(40), ...padding, 200, 4]));
  t.deepEqual(engine.open(esp), frame(ipv4(40)));
  engine.close();
});

const policyDrops: [string, EngineOptions, Record<string, number>][] = [
  ["whose if_id has no policy", { inPolicies: [] }, { XfrmInNoPols: 1 }],
  [
    "whose if_id is another than the policy's",
    { inPolicies: [policyAt("in", B, A, 102)] },
    { XfrmInNoPols: 1 },
  ],
  [
    "whose endpoints are not the policy's",
    { inPolicies: [policyAt("in", B, "192.0.2.9")] },
    { XfrmInTmplMismatch: 1 },
  ],
  [
    "which a policy blocks",
    { inPolicies: [{ ...policyAt("in", B, A), template: null }] },
    { XfrmInPolBlock: 1 },
  ],
];

for (const [name, options, counted] of policyDrops) {
  test(`receive drops and counts a packet of an SA ${name}`, (t) => {
    const engine = new Engine(options);
    t.is(engine.open(sealed(engine, ipv4(40))), null);
    t.deepEqual(engine.counted(), counted);
    engine.close();
  });
}

test("the frame for the TUN device names the SA's if_id and the link that the packet came in on", (t) => {
  const engine = new Engine();
  const received = engine.open(sealed(engine, ipv6(80)), 42) as Buffer;
  t.is(received.readUInt16BE(2), 0x86dd);
  t.deepEqual([...received.subarray(4, 14)], Array(10).fill(0));
  t.is(received.readInt32BE(SHIM_TAG), tagOf(0));
  t.is(received.readUInt32LE(SHIM_IF_ID), IF_ID);
  t.is(received.readInt32LE(SHIM_LINK), 42);
  engine.close();
});
