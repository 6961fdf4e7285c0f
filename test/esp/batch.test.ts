/** Sealing and opening many packets in one call gives what sealing and opening them one by one does. */
import { randomInt } from "node:crypto";
import test from "ava";
import { type AeadBackend, chooseBackend } from "../../src/esp/aead.js";
import { Engine, type EngineOptions } from "./engine.js";
import { frame, ipv4, ipv6, random } from "./frames.js";
import * as p from "./ip-packets.js";

const SEED = randomInt(1, 2 ** 31);
const PACKETS = 400;

const backends = new Map<string, AeadBackend>(
  (["auto", "openssl"] as const).map((name) => [chooseBackend(name).name, chooseBackend(name)]),
);
const CASES: readonly (readonly [string, EngineOptions])[] = [
  ["tunnel mode", {}],
  ["transport mode", { mode: "transport", outer: ["10.0.0.1", "10.1.0.1"] }],
  ["extended sequence numbers that carry", { esn: true, sequenceHigh: 4, sequence: 0xffffffff - 90 }],
  ["padding to a size", { padTo: 700 }],
  ["a limit of packets", { limits: { packets: 170, bytes: Infinity } }],
  ["a limit of bytes", { limits: { packets: Infinity, bytes: 123_456 } }],
  ["a suite that cannot wait", { suite: "aes128-cbc-sha256" }],
  ["AES-256-GCM", { suite: "aes256-gcm" }],
  ["ChaCha20-Poly1305", { suite: "chacha20-poly1305" }],
];

/** Of any size, and of few or many segments, each long or shorter than its own headers. */
function anyFrame(next: () => number, v6: boolean): Buffer {
  const kind = next() % 4;
  if (kind === 0) return frame(ipv4(20 + (next() % 1400), next()));
  if (kind === 1 && v6) return frame(ipv6(40 + (next() % 1400), next()));
  const size = kind === 2 ? 600 + (next() % 900) : 1 + (next() % 200);
  const payload = Buffer.alloc(size + 1 + (next() % (size * 40)), next().toString(36));
  const protocol = next() % 2 === 0 ? "tcp" : "udp";
  return p.gsoFrame({ payload, protocol, family: v6 && next() % 2 === 0 ? 6 : 4, id: next() & 0xffff }, size);
}

for (const [name, backend] of backends) {
  for (const [what, options] of CASES) {
    test(`${name}, ${what}: frames sealed together give the packets that they give one by one`, (t) => {
      const next = random(SEED);
      const own = { ...options, backend, iv: [7, 0xffffff00] as const };
      const together = new Engine(own);
      const alone = new Engine({ ...own, waits: false });
      for (let sent = 0; sent < PACKETS; ) {
        const frames = Array.from({ length: 1 + (next() % 64) }, () =>
          anyFrame(next, options.mode !== "transport"),
        );
        const expected = frames.flatMap((each) => alone.sealAll(each));
        const found = together.sealAll(...frames);
        if (options.suite === "aes128-cbc-sha256") {
          // Its IVs are random: only the other end can tell.
          t.deepEqual(together.openAll(found), alone.openAll(expected), `seed ${SEED}`);
        } else t.deepEqual(found, expected, `seed ${SEED}`);
        sent += frames.length;
      }
      t.deepEqual(together.counted(), alone.counted(), `seed ${SEED}`);
      t.is(together.out.sequence, alone.out.sequence);
      t.is(together.out.traffic.packets, alone.out.traffic.packets);
      t.is(together.out.traffic.bytes, alone.out.traffic.bytes);
      together.close();
      alone.close();
    });

    test(`${name}, ${what}: packets opened together have the fate that they have one by one`, (t) => {
      const next = random(SEED);
      const own = { ...options, backend };
      const together = new Engine(own);
      const alone = new Engine({ ...own, waits: false });
      const sealed: Buffer[] = [];
      for (let i = 0; i < PACKETS; i++) {
        const packet = alone.seal(frame(ipv4(40 + (next() % 900), i)));
        if (packet !== null) sealed.push(packet);
        // Out of order, twice, or with a bit changed.
        const other = sealed[sealed.length - 1 - (next() % Math.min(sealed.length, 80))];
        if (next() % 3 === 0 && other !== undefined) sealed.push(Buffer.from(other));
        const last = sealed.at(-1);
        if (next() % 9 === 0 && last !== undefined) {
          const at = next() % last.length;
          last[at] = (last[at] ?? 0) ^ (1 << (next() % 8));
        }
      }
      for (let i = 0; i < sealed.length; ) {
        const some = sealed.slice(i, i + 1 + (next() % 100));
        i += some.length;
        const expected = some.flatMap((packet) => alone.open(packet) ?? []);
        t.deepEqual(together.openAll(some), expected, `seed ${SEED}`);
      }
      const drops = ({ XfrmOutStateExpired: _, ...others }: Record<string, number>) => {
        if (!options.esn) return others;
        // Which high half an old number is taken for, and so what is wrong with it, depends on where the window is.
        const { XfrmInStateSeqError: old = 0, XfrmInStateProtoError: forged = 0, ...rest } = others;
        return { ...rest, oldOrForged: old + forged };
      };
      t.deepEqual(drops(together.counted()), drops(alone.counted()), `seed ${SEED}`);
      together.close();
      alone.close();
    });
  }
}
