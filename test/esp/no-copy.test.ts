import test from "ava";
import { chooseBackend } from "../../src/esp/aead.js";
import { Coalescer } from "../../src/esp/coalescer.js";
import { inboundTable, outboundTable } from "../../src/esp/database.js";
import { Inbound } from "../../src/esp/inbound.js";
import { Outbound } from "../../src/esp/outbound.js";
import { MAX_TRAILER_SIZE } from "../../src/esp/packet.js";
import { makeInbound, makeOutbound, type OutboundState } from "../../src/esp/sa.js";
import { Counters } from "../../src/esp/statistics.js";
import { Traffic } from "../../src/esp/traffic.js";
import { PacketSlab } from "../../src/sys/packet-slab.js";
import { A, B, IF_ID, policyAt, SPI } from "./engine.js";
import { random } from "./frames.js";
import * as p from "./ip-packets.js";
import { whyNoIpsecMb } from "./ipsec-mb.js";
import { iovecs } from "./written.js";

const FRAME = 6;
const ESP = 2 ** 17;
const MSS = 1398;
const SEGMENTS = 40;

/** Counts the bytes that JavaScript writes to a Slab; system and crypto calls write past it. */
function countWrites(slab: PacketSlab): () => number {
  let written = 0;
  const { bytes, view } = slab;
  bytes.set = (source: ArrayLike<number>, offset?: number) => {
    written += source.length;
    Uint8Array.prototype.set.call(bytes, source, offset);
  };
  bytes.copyWithin = (target: number, start: number, end = bytes.length) => {
    written += end - start;
    return Uint8Array.prototype.copyWithin.call(bytes, target, start, end) as typeof bytes;
  };
  for (const [name, size] of [
    ["setUint8", 1],
    ["setUint16", 2],
    ["setUint32", 4],
    ["setInt32", 4],
    ["setBigUint64", 8],
  ] as const) {
    const plain = DataView.prototype[name] as (...args: unknown[]) => void;
    Object.assign(view, {
      [name]: (...args: unknown[]) => {
        written += size;
        plain.apply(view, args);
      },
    });
  }
  return () => written;
}

for (const [name, together] of [
  ["openssl", true],
  ["openssl", false],
  ["ipsec-mb", true],
  ["ipsec-mb", false],
] as const) {
  const run = name === "ipsec-mb" && whyNoIpsecMb() !== null ? test.skip : test;
  const how = together ? "together" : "one by one";
  run(`no payload is copied between TUN device and socket, sealed and opened ${how} with ${name}`, (t) => {
    const slab = new PacketSlab(2 ** 18);
    const counters = new Counters();
    const backend = chooseBackend(name);
    const keymat = new Uint8Array(20).fill(7);
    const sealed: { at: number; size: number }[] = [];
    let next = ESP;
    const sink = {
      reserve: () => next,
      commit(_state: OutboundState, _link: number, size: number) {
        sealed.push({ at: next, size });
        next += size;
      },
    };
    const outbound = new Outbound<OutboundState>(slab, counters, sink, together);
    const shared = {
      ifId: IF_ID,
      spi: SPI,
      suite: "aes128-gcm",
      mode: "tunnel",
      esn: false,
      inner: null,
    } as const;
    const outParameters = { ...shared, local: A, remote: B, padTo: 0 };
    const out = makeOutbound(slab, backend, outParameters, keymat, new Traffic());
    outbound.table = outboundTable([policyAt("out", A, B)], [out]);
    const inParameters = { ...shared, local: B, remote: A, replayWindow: 64 };
    const entry = makeInbound(slab, backend, inParameters, keymat, new Traffic());
    const states = inboundTable([policyAt("in", B, A)], [entry]).get(B);
    if (states === undefined) throw new Error("the inbound SA is missing from its table");
    const random32 = random(3);
    const payload = Buffer.from(Uint8Array.from({ length: MSS * SEGMENTS }, () => random32()));
    const framed = p.gsoFrame({ payload, id: 9 }, MSS);
    slab.bytes.set(framed, FRAME);

    const writes = countWrites(slab);
    outbound.process(FRAME, framed.length);
    t.is(sealed.length, SEGMENTS);
    // Together: also what is put back where a trailer was.
    const copied = SEGMENTS * (together ? 40 + MAX_TRAILER_SIZE : 40);
    t.is(counters.get("copiedBytes"), copied);
    t.true(writes() < SEGMENTS * 120, `${writes()} bytes written for ${payload.length} of payload`);
    t.is(counters.get("sealedBytes"), SEGMENTS * (MSS + 40 + 2));

    const inbound = new Inbound(slab, counters, () => t.fail("tunnel mode never needs to make room"));
    const before = writes();
    const written: { at: number; length: number }[] = [];
    const coalescer = new Coalescer(
      slab,
      (vector, count) => written.push(...iovecs(slab, vector, count)),
      true,
    );
    const [first] = sealed;
    if (together && first !== undefined)
      inbound.takeMessage(first.at, first.size * SEGMENTS, first.size, states, 0, 0, coalescer);
    else
      for (const { at, size } of sealed) {
        const length = inbound.process(at, size, states, 0, 0);
        coalescer.add(inbound.frame, length);
      }
    inbound.finish(coalescer);
    coalescer.flush();
    t.true(writes() - before < SEGMENTS * 120);
    // Every payload is written from where its ESP packet was received.
    t.deepEqual(
      written.slice(1),
      sealed.slice(1).map(({ at }) => ({ at: at + 16 + 40, length: MSS })),
    );
    const whole = written.map(({ at, length }) => Buffer.from(slab.bytes.slice(at, at + length)));
    t.deepEqual(Buffer.concat(whole), framed);
    t.is(counters.get("copiedBytes"), copied);
    out.sealer.close();
    entry.opener.close();
  });
}
