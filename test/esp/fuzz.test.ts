/** Hostile packets against the engine. XFRM_STEER_FUZZ_PACKETS and XFRM_STEER_FUZZ_SEED change how many and which. */
import { randomInt } from "node:crypto";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import test from "ava";
import { SUITE_NAMES } from "../../src/esp/suite.js";
import { Engine, type EngineOptions } from "./engine.js";
import { frame, ipv4, random } from "./frames.js";

const PACKETS = Number(process.env.XFRM_STEER_FUZZ_PACKETS ?? 50_000);
const SEED = Number(process.env.XFRM_STEER_FUZZ_SEED ?? randomInt(1, 2 ** 31));
const WINDOW = 128;

setFlagsFromString("--expose-gc");
const collect = runInNewContext("gc") as () => void;

const inner = { local: "10.0.0.1", remote: "10.1.0.1" };
const MODES: EngineOptions[] = [
  { mode: "tunnel" },
  { mode: "transport", outer: [inner.local, inner.remote] },
  { mode: "beet", inner },
];

/** An engine with packets on the way, and what its receiver may accept. */
class Victim {
  readonly engine: Engine;
  readonly #onTheWay: { packet: Buffer; sequence: number }[] = [];
  /** Packets that came, to be replayed. */
  readonly #replays: Buffer[] = [];
  readonly #seen = new Set<number>();
  #top = 0;
  #sequence: number;

  constructor(options: EngineOptions) {
    this.engine = new Engine({ ...options, replayWindow: WINDOW });
    const { sequenceHigh = 0, sequence = 0 } = options;
    this.#sequence = this.#top = sequenceHigh * 2 ** 32 + sequence;
  }

  /** One that was never delivered, or one that was. */
  pick(next: () => number): Buffer {
    if (this.#onTheWay.length < 32) this.#send(next());
    const pool = this.#replays.length > 0 && next() % 2 === 0 ? this.#replays : null;
    if (pool !== null) return pool[next() % pool.length] as Buffer;
    return (this.#onTheWay[next() % this.#onTheWay.length] as { packet: Buffer }).packet;
  }

  replay(next: () => number): Buffer | null {
    return this.#replays[next() % Math.max(1, this.#replays.length)] ?? null;
  }

  /** Delivers one out of order. @returns what is wrong with the outcome, or null */
  deliver(next: () => number): string | null {
    if (this.#onTheWay.length === 0) this.#send(next());
    const [sent] = this.#onTheWay.splice(next() % this.#onTheWay.length, 1);
    if (sent === undefined) return null;
    const { packet, sequence } = sent;
    const expected = sequence > this.#top - WINDOW && !this.#seen.has(sequence);
    const accepted = this.engine.open(packet) !== null;
    if (accepted) {
      this.#seen.add(sequence);
      this.#top = Math.max(this.#top, sequence);
      // What fell out of the window is never accepted again.
      for (const old of this.#seen) if (old <= this.#top - WINDOW) this.#seen.delete(old);
    }
    this.#replays.push(packet);
    if (this.#replays.length > 64) this.#replays.splice(next() % 64, 1);
    if (accepted === expected) return null;
    return `number ${sequence} was ${accepted ? "" : "not "}accepted, the highest being ${this.#top}`;
  }

  #send(seed: number): void {
    const packet = this.engine.seal(frame(ipv4(40 + (seed % 400), seed & 0xffff)));
    // In memory of its own: a pooled buffer would hold 8 KiB for as long as it lives.
    const own = Buffer.allocUnsafeSlow((packet as Buffer).length);
    own.set(packet as Buffer);
    this.#onTheWay.push({ packet: own, sequence: ++this.#sequence });
  }
}

const mutations: ((packet: Buffer, next: () => number) => Buffer)[] = [
  (packet, next) => {
    const at = next() % packet.length;
    packet[at] = (packet[at] ?? 0) ^ (1 << (next() & 7));
    return packet;
  },
  (packet, next) => packet.subarray(0, next() % packet.length),
  (packet, next) => Buffer.concat([packet, Buffer.alloc(1 + (next() % 40), next())]),
  (packet, next) => Buffer.from(packet.map((byte, index) => (index < 4 || next() % 8 !== 0 ? byte : next()))),
  (packet, next) => {
    packet.writeUInt32BE(next(), 4);
    return packet;
  },
  (packet, next) =>
    Buffer.concat([packet.subarray(0, 8), Buffer.from(Array.from({ length: next() % 300 }, next))]),
];

test(`of ${PACKETS} packets that are mutated, cut, extended, replayed and reordered only the right ones are accepted; seed ${SEED}`, (t) => {
  const next = random(SEED);
  const victims = SUITE_NAMES.flatMap((suite, index) =>
    MODES.map((mode) => new Victim({ ...mode, suite, esn: index % 2 === 0, ...start(index) })),
  );
  let early = 0;
  for (let i = 0; i < PACKETS; i++) {
    const victim = victims[next() % victims.length] as Victim;
    const what = next() % (mutations.length + 2);
    const mutate = mutations[what];
    if (mutate !== undefined) {
      const packet = victim.pick(next);
      const mutated = mutate(Buffer.from(packet), next);
      if (!mutated.equals(packet) && victim.engine.open(mutated) !== null)
        return t.fail(`packet ${i} was accepted: ${mutated.toString("hex")}`);
    } else if (what === mutations.length) {
      const wrong = victim.deliver(next);
      if (wrong !== null) return t.fail(`packet ${i}: ${wrong}`);
    } else {
      const packet = victim.replay(next);
      if (packet !== null && victim.engine.open(packet) !== null)
        return t.fail(`packet ${i} was accepted twice`);
    }
    if (i === PACKETS >> 1) early = held();
  }
  const growth = held() - early;
  // Compiled code and what awaits its finalizer vary by a few MiB; a packet kept from each round is far more in a million.
  t.true(growth < 16 * 2 ** 20, `${growth} bytes more are held than half way`);
  for (const { engine } of victims) engine.close();
});

/** Some with extended numbers begin just before an overflow of the low half. */
const start = (index: number): EngineOptions =>
  index % 4 === 0 ? { sequenceHigh: 3, sequence: 0xfffffff0 } : {};

function held(): number {
  collect();
  const { heapUsed, external } = process.memoryUsage();
  return heapUsed + external;
}
