import test from "ava";
import { FRAME_HEADER_SIZE } from "../../src/esp/framing.js";
import type { Mode } from "../../src/esp/packet.js";
import { SUITE_NAMES, SUITES } from "../../src/esp/suite.js";
import { Engine, type EngineOptions } from "./engine.js";
import { frame, ipv4, ipv6 } from "./frames.js";
import * as p from "./ip-packets.js";

const OUTER = { 4: ["192.0.2.1", "192.0.2.2"], 6: ["2001:db8::1", "2001:db8::2"] } as const;
/** Source and destination of the packets that frames.ts makes. */
const INNER = {
  4: { local: "10.0.0.1", remote: "10.1.0.1" },
  6: { local: "fd00:1::", remote: "fd00:2::" },
} as const;
const FAMILIES = [4, 6] as const;

const packetOf = (family: 4 | 6, size: number): Buffer => {
  if (family === 6) return ipv6(size);
  const packet = ipv4(size);
  // As AddressPair writes it: an atomic datagram with its checksum.
  packet.writeUInt16BE(0x4000, 6);
  p.completeIpv4(packet);
  return packet;
};

interface Cell {
  readonly mode: Mode;
  readonly outer: 4 | 6;
  readonly inner: 4 | 6;
}

/** Transport mode has one pair of addresses, so one family. */
const CELLS: Cell[] = (["tunnel", "transport", "beet"] as const).flatMap((mode) =>
  FAMILIES.flatMap((outer) =>
    FAMILIES.filter((inner) => mode !== "transport" || inner === outer).map((inner) => ({
      mode,
      outer,
      inner,
    })),
  ),
);

function optionsOf({ mode, outer, inner }: Cell): EngineOptions {
  if (mode === "transport") return { mode, outer: [INNER[inner].local, INNER[inner].remote] };
  return { mode, outer: OUTER[outer], ...(mode === "beet" ? { inner: INNER[inner] } : {}) };
}

for (const cell of CELLS) {
  const { mode, outer, inner } = cell;
  test(`${mode}, IPv${inner} in IPv${outer}: a packet of every length comes out as it went in, with every suite`, (t) => {
    for (const suite of SUITE_NAMES) {
      for (const esn of [false, true]) {
        const engine = new Engine({ ...optionsOf(cell), suite, esn });
        const { ivSize, icvSize, alignment } = SUITES[suite];
        const header = inner === 4 ? 20 : 40;
        for (let size = header + 1; size <= 1500; size += size < 100 ? 1 : 131) {
          const packet = packetOf(inner, size);
          const esp = engine.seal(frame(packet));
          if (esp === null)
            return t.fail(`${suite}: ${size} bytes were dropped: ${JSON.stringify(engine.counted())}`);
          const payload = mode === "tunnel" ? size : size - header;
          t.is(esp.length, 8 + ivSize + Math.ceil((payload + 2) / alignment) * alignment + icvSize);
          t.deepEqual(engine.open(esp, 3), frame(packet, { link: 3 }), `${suite}, ${size} bytes`);
        }
        t.deepEqual(engine.counted(), {});
        engine.close();
      }
    }
  });

  test(`${mode}, IPv${inner} in IPv${outer}: a GSO packet leaves as its segments, with every suite`, (t) => {
    for (const suite of SUITE_NAMES) {
      const gso = { family: inner, payload: Buffer.alloc(5000, "payload") };
      const framed = p.gsoFrame(gso, 1300);
      const engine = new Engine({ ...optionsOf({ ...cell }), ...addressesOf(cell, framed), suite });
      const sealed = engine.sealAll(framed);
      t.is(sealed.length, 4, suite);
      const payloads = sealed.map((esp) => {
        const opened = engine.open(esp);
        if (opened === null) throw new Error(`${suite}: ${JSON.stringify(engine.counted())}`);
        return opened.subarray(FRAME_HEADER_SIZE + (inner === 6 ? 40 : 20) + 20);
      });
      t.deepEqual(Buffer.concat(payloads), gso.payload, suite);
      engine.close();
    }
  });
}

/** The same cell for the addresses that a frame's packet has. */
function addressesOf({ mode, inner }: Cell, framed: Buffer): EngineOptions {
  if (mode === "tunnel") return {};
  const packet = framed.subarray(FRAME_HEADER_SIZE);
  const [at, size] = inner === 6 ? [8, 16] : [12, 4];
  const text = (bytes: Buffer): string =>
    inner === 4 ? [...bytes].join(".") : (bytes.toString("hex").match(/.{4}/g) ?? []).join(":");
  const local = text(packet.subarray(at, at + size));
  const remote = text(packet.subarray(at + size, at + 2 * size));
  return mode === "transport" ? { outer: [local, remote] } : { inner: { local, remote } };
}

const withOptions = (options: Buffer): Buffer => {
  const plain = packetOf(4, 60);
  const packet = Buffer.concat([plain.subarray(0, 20), options, plain.subarray(20)]);
  packet.writeUInt8(0x45 + options.length / 4, 0);
  packet.writeUInt16BE(packet.length, 2);
  p.completeIpv4(packet);
  return packet;
};

for (const size of [4, 8, 12, 36, 40]) {
  test(`BEET carries ${size} bytes of IPv4 options in a header of their own`, (t) => {
    const engine = new Engine({ mode: "beet", inner: INNER[4] });
    const packet = withOptions(Buffer.alloc(size, 1));
    const esp = engine.seal(frame(packet)) as Buffer;
    // Pseudo header and options together are a multiple of 8 bytes.
    t.is(esp.length, 16 + Math.ceil((40 + Math.ceil((4 + size) / 8) * 8 + 2) / 4) * 4 + 16);
    t.deepEqual(engine.open(esp), frame(packet));
    engine.close();
  });
}

test("BEET keeps the headers of a GSO packet's segments apart from the options' own header", (t) => {
  const payload = Buffer.alloc(3000, "options");
  const framed = p.gsoFrame({ payload, ipOptions: Buffer.alloc(8, 1) }, 1000);
  const cell = { mode: "beet", outer: 4, inner: 4 } as const;
  const engine = new Engine({ ...optionsOf(cell), ...addressesOf(cell, framed) });
  const opened = engine
    .sealAll(framed)
    .map((esp) => (engine.open(esp) as Buffer).subarray(FRAME_HEADER_SIZE));
  for (const packet of opened)
    t.deepEqual([packet[0], packet.toString("hex", 20, 28)], [0x47, "01".repeat(8)]);
  t.deepEqual(Buffer.concat(opened.map((packet) => packet.subarray(48))), payload);
  engine.close();
});

const refused: [string, EngineOptions, Buffer, Record<string, number>][] = [
  [
    "BEET: a packet of other addresses than the SA's",
    { mode: "beet", inner: { local: "10.0.0.9", remote: "10.1.0.1" } },
    packetOf(4, 60),
    { XfrmOutNoStates: 1, txCarrierErrors: 1 },
  ],
  [
    "transport: a packet that does not go from one end to the other",
    { mode: "transport" },
    packetOf(4, 60),
    { XfrmOutNoStates: 1, txCarrierErrors: 1 },
  ],
  [
    "transport: a fragment",
    { mode: "transport", outer: ["10.0.0.1", "10.1.0.1"] },
    (() => {
      const packet = packetOf(4, 60);
      packet.writeUInt16BE(0x2000, 6);
      return packet;
    })(),
    { XfrmOutStateModeError: 1 },
  ],
  [
    "transport: IPv4 options, which the other end could not put back",
    { mode: "transport", outer: ["10.0.0.1", "10.1.0.1"] },
    withOptions(Buffer.alloc(4, 1)),
    { XfrmOutStateModeError: 1 },
  ],
  [
    "transport: an IPv6 fragment header",
    { mode: "transport", outer: ["fd00:1::", "fd00:2::"] },
    (() => {
      const packet = ipv6(80);
      packet.writeUInt8(44, 6);
      return packet;
    })(),
    { XfrmOutStateModeError: 1 },
  ],
];

for (const [name, options, packet, counted] of refused) {
  test(`transmit drops and counts, ${name}`, (t) => {
    const engine = new Engine(options);
    t.is(engine.seal(frame(packet)), null);
    t.deepEqual(engine.counted(), counted);
    t.is(engine.out.sequence, 0);
    engine.close();
  });
}

test("extended sequence numbers go on past 2^32, and both ends agree on the half that is not sent", (t) => {
  const engine = new Engine({ esn: true, sequenceHigh: 7, sequence: 0xfffffffd });
  const lows = [1, 2, 3, 4].map(() => {
    const esp = engine.seal(frame(ipv4(40))) as Buffer;
    t.deepEqual(engine.open(esp), frame(ipv4(40)));
    return esp.readUInt32BE(4);
  });
  t.deepEqual(lows, [0xfffffffe, 0xffffffff, 0, 1]);
  t.deepEqual([engine.out.sequenceHigh, engine.in.replay.topHigh, engine.in.replay.topLow], [8, 8, 1]);
  engine.close();
});

test("an SA with extended sequence numbers stops at 2^64 - 1", (t) => {
  const engine = new Engine({ esn: true, sequenceHigh: 0xffffffff, sequence: 0xfffffffe });
  t.truthy(engine.seal(frame(ipv4(40))));
  t.is(engine.seal(frame(ipv4(40))), null);
  t.deepEqual(engine.counted(), { XfrmOutStateSeqError: 1 });
  engine.close();
});

test("the IV goes on past 2^64 of the numbers' low words without meeting itself", (t) => {
  const engine = new Engine({ esn: true, sequenceHigh: 1, sequence: 0xfffffffe, iv: [5, 6] });
  const ivs = [1, 2, 3].map(() => (engine.seal(frame(ipv4(40))) as Buffer).readBigUInt64BE(8));
  const base = (5n << 32n) + 6n;
  t.deepEqual(
    ivs,
    [0x1_ffffffffn, 0x2_00000000n, 0x2_00000001n].map((sequence) => base + sequence),
  );
  engine.close();
});

test("AES-CBC takes an IV that does not follow from those before", (t) => {
  const engine = new Engine({ suite: "aes128-cbc-sha256" });
  const ivs = Array.from({ length: 600 }, () => {
    const esp = engine.seal(frame(ipv4(40))) as Buffer;
    return [esp.readBigUInt64BE(8), esp.readBigUInt64BE(16)] as const;
  });
  // Either half differs everywhere, and is not reached from the one before by counting, in either byte order.
  const swapped = (half: bigint) => Buffer.from(half.toString(16).padStart(16, "0"), "hex").readBigUInt64LE();
  const farApart = (a: bigint, b: bigint) => BigInt.asUintN(64, a - b + 2n ** 20n) > 2n ** 21n;
  for (const of of [0, 1] as const) {
    const halves = ivs.map((iv) => iv[of]);
    t.is(new Set(halves).size, ivs.length);
    for (const [i, half] of halves.slice(1).entries()) {
      const before = halves[i] as bigint;
      t.true(farApart(half, before) && farApart(swapped(half), swapped(before)), `IV ${i + 1}`);
    }
  }
  engine.close();
});

test("packets are padded to one size, and come out without the padding, also from a GSO packet", (t) => {
  const engine = new Engine({ padTo: 1400 });
  for (const packet of [packetOf(4, 21), packetOf(4, 1400), ipv6(41)]) {
    const esp = engine.seal(frame(packet)) as Buffer;
    t.is(esp.length, 16 + 1404 + 16);
    t.deepEqual(engine.open(esp), frame(packet));
  }
  const payload = Buffer.alloc(2500, "segments");
  const sealed = engine.sealAll(p.gsoFrame({ payload }, 1000));
  t.deepEqual(new Set(sealed.map(({ length }) => length)), new Set([16 + 1404 + 16]));
  const opened = sealed.map((esp) => (engine.open(esp) as Buffer).subarray(FRAME_HEADER_SIZE + 40));
  t.deepEqual(Buffer.concat(opened), payload);
  engine.close();
});

test("the padding of a large GSO packet's last segment leaves the next frame as it was read", (t) => {
  const engine = new Engine({ padTo: 1400 });
  const payload = Buffer.alloc(48 * 1348 + 400, "segments");
  const sealed = engine.sealAll(p.gsoFrame({ payload }, 1348), frame(ipv4(1000)));
  t.deepEqual(engine.counted(), {});
  t.is(sealed.length, 50);
  const opened = sealed.map((esp) => engine.open(esp) as Buffer);
  t.deepEqual(opened.pop(), frame(ipv4(1000)));
  t.deepEqual(Buffer.concat(opened.map((each) => each.subarray(FRAME_HEADER_SIZE + 40))), payload);
  engine.close();
});

test("a dummy packet is sealed like any other, and thrown away by the other end", (t) => {
  const engine = new Engine();
  engine.outbound.sendDummy(engine.out, 0, 64, 300);
  const [esp] = engine.sealed;
  t.is(esp?.length, 16 + 304 + 16);
  t.is(engine.open(esp as Buffer), null);
  t.deepEqual(engine.counted(), { dummies: 1 });
  engine.close();
});
