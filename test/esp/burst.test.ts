/** What a message of many datagrams becomes is what its datagrams become one by one, coalesced or not. */
import { randomInt } from "node:crypto";
import test from "ava";
import { Coalescer } from "../../src/esp/coalescer.js";
import { Engine, type EngineOptions } from "./engine.js";
import { frame, ipv4, random } from "./frames.js";
import * as p from "./ip-packets.js";
import { gather, packetsOf } from "./written.js";

const SEED = randomInt(1, 2 ** 31);
/** Where a message is received to: as in the data path, with room in front. */
const MESSAGE = 128;

interface Message {
  /** Datagrams of one size, the last perhaps shorter. */
  readonly datagrams: readonly Buffer[];
  readonly tos?: number;
}

interface Outcome {
  /** What is written to the TUN device, and of how many packets each is made. */
  readonly frames: Buffer[];
  readonly counts: number[];
}

/** As the data path's receiver does, or packet by packet. */
function receive(engine: Engine, messages: readonly Message[], together: boolean): Outcome {
  const { slab, inbound, entries } = engine;
  const outcome: Outcome = { frames: [], counts: [] };
  const coalescer = new Coalescer(
    slab,
    (vector, count) => {
      outcome.frames.push(gather(slab, vector, count));
      outcome.counts.push(count);
    },
    true,
  );
  for (const { datagrams, tos = 0 } of messages) {
    const whole = Buffer.concat(datagrams);
    slab.bytes.set(whole, MESSAGE);
    const size = datagrams[0]?.length ?? 0;
    if (together) inbound.takeMessage(MESSAGE, whole.length, size, entries, 0, tos, coalescer);
    else
      for (let at = 0; at < whole.length; at += size) {
        const length = inbound.process(MESSAGE + at, Math.min(size, whole.length - at), entries, 0, tos);
        if (length > 0) coalescer.add(inbound.frame, length);
      }
    inbound.finish(coalescer);
    coalescer.flush();
  }
  return outcome;
}

/** The same messages, to two receivers. @returns what the one that takes messages as a whole wrote */
function compare(options: EngineOptions, makeMessages: (sender: Engine) => Message[]) {
  const sender = new Engine(options);
  const together = new Engine(options);
  const alone = new Engine(options);
  try {
    const messages = makeMessages(sender);
    const found = receive(together, messages, true);
    const expected = receive(alone, messages, false);
    const state = (engine: Engine) => {
      const { replay, traffic } = engine.in;
      return {
        counted: engine.counted(),
        top: [replay.topHigh, replay.topLow],
        seen: Array.from({ length: 64 }, (_, behind) => replay.check(replay.topHigh, replay.topLow - behind)),
        traffic: [traffic.packets, traffic.bytes, traffic.sequence],
      };
    };
    return { found, expected, foundState: state(together), expectedState: state(alone) };
  } finally {
    for (const engine of [sender, together, alone]) engine.close();
  }
}

const payload = (size: number): Buffer => Buffer.alloc(size, "burst");
const gso = (size: number, count: number, options: p.TransportOptions = {}): Buffer =>
  p.gsoFrame({ payload: payload(size * count - 1), id: 3, ...options }, size);

for (const [name, options, framed] of [
  ["TCP over IPv4", {}, gso(1000, 40)],
  ["TCP over IPv6", {}, gso(1000, 40, { family: 6 })],
  ["UDP over IPv4", {}, gso(1000, 40, { protocol: "udp" })],
  ["UDP over IPv6", {}, gso(1000, 40, { protocol: "udp", family: 6 })],
  ["identifiers and TCP sequence numbers that wrap", {}, gso(1000, 40, { id: 0xfff0, sequence: 0xffffa000 })],
  ["TCP options", {}, gso(900, 40, { options: Buffer.from([1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2]) })],
  [
    "AES-256-GCM with extended sequence numbers",
    { suite: "aes256-gcm", esn: true, sequenceHigh: 7 },
    gso(1000, 40),
  ],
  ["ChaCha20-Poly1305", { suite: "chacha20-poly1305" }, gso(1000, 40)],
  ["a suite that opens by itself", { suite: "aes128-cbc-sha256" }, gso(1000, 40)],
] as [string, EngineOptions, Buffer][]) {
  test(`a message of a sender's burst becomes one GSO packet: ${name}`, (t) => {
    const outcome = compare(options, (sender) => [{ datagrams: sender.sealAll(framed) }]);
    t.deepEqual(outcome.found, outcome.expected);
    t.deepEqual(outcome.found.counts, [40]);
    t.deepEqual(outcome.foundState, outcome.expectedState);
  });
}

/** Changes one datagram of the burst, which is sealed from packets. */
const among = (change: (packets: Buffer[]) => void) => (sender: Engine) => {
  const packets = p.plainSegments({ payload: payload(20_000), id: 3 }, 1000);
  change(packets);
  return [{ datagrams: sender.sealAll(...packets.map((packet) => frame(packet))) }];
};
const onWire = (change: (datagrams: Buffer[]) => void, tos?: number) => (sender: Engine) => {
  const datagrams = sender.sealAll(gso(1000, 20, { tos: 2 }));
  change(datagrams);
  return [tos === undefined ? { datagrams } : { datagrams, tos }];
};
const spoil = (bytes: Buffer | undefined, at: number): void => {
  if (bytes !== undefined) bytes[at] = (bytes[at] ?? 0) ^ 1;
};

for (const [name, messages] of [
  ["a forged datagram", onWire((d) => spoil(d[9], 500))],
  ["a wrong ICV", onWire((d) => spoil(d[9], (d[9]?.length ?? 0) - 1))],
  ["another SPI", onWire((d) => spoil(d[9], 3))],
  ["the first one forged", onWire((d) => spoil(d[0], 500))],
  ["all forged", onWire((d) => d.forEach((each) => void spoil(each, 500)))],
  ["one that is missing", onWire((d) => d.splice(9, 1))],
  ["one that comes twice", onWire((d) => d.splice(9, 0, Buffer.from(d[8] as Buffer)))],
  ["two that are exchanged", onWire((d) => d.splice(9, 2, d[10] as Buffer, d[9] as Buffer))],
  ["the other way round", onWire((d) => d.splice(0, 19, ...d.slice(0, 19).reverse()))],
  ["congestion on the way", onWire(() => {}, 3)],
  ["an outer ECT(1)", onWire(() => {}, 1)],
  ["a wrong TCP checksum", among((packets) => spoil(packets[9], 500))],
  ["a wrong IPv4 checksum", among((packets) => spoil(packets[9], 10))],
  ["another TTL", among((packets) => spoil(packets[9], 8))],
  ["another window", among((packets) => spoil(packets[9], 35))],
  ["another port", among((packets) => spoil(packets[9], 21))],
  ["PSH in the middle", among((packets) => packets[9]?.writeUInt8(0x18, 33))],
  ["another protocol in between", among((packets) => packets.splice(9, 0, ipv4(1040, 9)))],
  [
    "no burst at all",
    among((packets) => packets.splice(0, 20, ...Array.from({ length: 20 }, (_, i) => ipv4(1040, i)))),
  ],
  ["padding behind the packet", among((packets) => packets.splice(9, 1, ipv4(1036, 9)))],
] as [string, (sender: Engine) => Message[]][]) {
  test(`with ${name}, a message has the fate of its datagrams`, (t) => {
    const { found, expected, foundState, expectedState } = compare({}, messages);
    t.deepEqual(found, expected);
    t.deepEqual(foundState, expectedState);
  });
}

for (const [name, options] of [
  ["a limit of packets", { limits: { packets: 170, bytes: Infinity } }],
  ["a limit of bytes", { limits: { packets: Infinity, bytes: 123_456 } }],
  ["padding to a size", { padTo: 700 }],
  ["transport mode", { mode: "transport", outer: ["10.0.0.1", "10.1.0.1"] }],
  ["sequence numbers that carry", { esn: true, sequenceHigh: 4, sequence: 0xffffffff - 90 }],
  ["sequence numbers that end", { sequence: 0xffffffff - 90 }],
  ["a window of 4096", { replayWindow: 4096 }],
] as [string, EngineOptions][]) {
  test(`whatever comes, a message has the fate of its datagrams: ${name}`, (t) => {
    const next = random(SEED);
    const { found, expected, foundState, expectedState } = compare(options, (sender) => {
      const messages: Message[] = [];
      for (let i = 0; i < 30; i++) {
        const size = 1 + (next() % 900);
        const protocol = next() % 2 === 0 ? "tcp" : "udp";
        const datagrams = sender.sealAll(gso(size, 2 + (next() % 40), { protocol, id: next() & 0xffff }));
        const at = next() % Math.max(1, datagrams.length);
        if (next() % 3 === 0) spoil(datagrams[at], next() % (datagrams[at]?.length ?? 1));
        if (next() % 4 === 0 && at < datagrams.length - 1) datagrams.splice(at, 1);
        if (next() % 4 === 0 && at < datagrams.length - 2)
          datagrams.splice(at, 0, Buffer.from(datagrams[at] ?? []));
        messages.push({ datagrams });
      }
      return messages.filter(({ datagrams }) => datagrams.length > 0);
    });
    // A hard limit cuts what is joined at another place, with the same packets.
    t.deepEqual(found.frames.flatMap(packetsOf), expected.frames.flatMap(packetsOf), `seed ${SEED}`);
    t.deepEqual(foundState, expectedState, `seed ${SEED}`);
  });
}

test("datagrams too short for what they are to continue are not read behind their end", (t) => {
  const { found, expected } = compare({}, (sender) => {
    const [first, ...rest] = sender.sealAll(gso(1000, 20));
    const cut = rest.map((datagram) => datagram.subarray(0, first?.length ?? 0));
    return [
      { datagrams: [first as Buffer, ...cut] },
      ...[0, 1, 7, 8, 15, 16, 31, 32, 33].map((size) => ({
        datagrams: sender.sealAll(gso(1000, 5)).map((datagram) => datagram.subarray(0, size)),
      })),
    ];
  });
  t.deepEqual(found, expected);
});
