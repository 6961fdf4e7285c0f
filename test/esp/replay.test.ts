import test from "ava";
import fc from "fast-check";
import { ReplayWindow, sequenceNumber } from "../../src/esp/replay.js";

/** What RFC 4303 section 3.4.3 asks for, written as plainly as possible. */
class NaiveWindow {
  readonly #seen = new Set<number>();
  #top = 0;
  readonly #size: number;

  constructor(size: number) {
    this.#size = size;
  }

  offer(sequence: number): boolean {
    if (sequence === 0 || sequence <= this.#top - this.#size || this.#seen.has(sequence)) return false;
    this.#seen.add(sequence);
    this.#top = Math.max(this.#top, sequence);
    return true;
  }
}

function offer(window: ReplayWindow, sequence: number): boolean {
  const low = sequence % 2 ** 32;
  const high = window.high(low);
  if (!window.check(high, low)) return false;
  // A high word guessed wrong would fail the integrity check.
  if (high * 2 ** 32 + low !== sequence) return false;
  window.accept(high, low);
  return true;
}

const topOf = (window: ReplayWindow): number => window.topHigh * 2 ** 32 + window.topLow;

const cases: [name: string, size: number, offers: [sequence: number, accepted: boolean][]][] = [
  ["the number 0 is never accepted", 64, [[0, false]]],
  [
    "the first number is 1",
    64,
    [
      [1, true],
      [1, false],
    ],
  ],
  [
    "the first number may be any",
    64,
    [
      [1_000_000, true],
      [999_999, true],
      [999_999, false],
    ],
  ],
  [
    "the left edge is in the window and what is left of it is not",
    64,
    [
      [100, true],
      [37, true],
      [36, false],
    ],
  ],
  [
    "the left edge of the smallest window",
    32,
    [
      [100, true],
      [69, true],
      [68, false],
    ],
  ],
  [
    "the left edge of the largest window",
    4096,
    [
      [5000, true],
      [905, true],
      [904, false],
    ],
  ],
  [
    "a window that is no multiple of 32",
    100,
    [
      [1000, true],
      [901, true],
      [900, false],
    ],
  ],
  [
    "late packets are accepted once each",
    64,
    [
      [3, true],
      [1, true],
      [2, true],
      [1, false],
      [2, false],
      [3, false],
    ],
  ],
  [
    "a jump by exactly the window forgets the old numbers",
    64,
    [
      [10, true],
      [74, true],
      [10, false],
      [11, true],
    ],
  ],
  [
    "a jump over many windows leaves no trace of old bits",
    64,
    [
      [5, true],
      [5 + 128 * 32, true],
      [4 + 128 * 32, true],
      [128 * 32 - 50, true],
    ],
  ],
  [
    "the last number of an SA",
    64,
    [
      [0xffffffff, true],
      [0xffffffff, false],
      [0xfffffffe, true],
      [0xffffffc0, true],
      [0xffffffbf, false],
    ],
  ],
];

for (const [name, size, offers] of cases) {
  test(`replay window: ${name}`, (t) => {
    const window = new ReplayWindow(size);
    for (const [sequence, accepted] of offers) t.is(offer(window, sequence), accepted, `number ${sequence}`);
  });
}

test("checking moves nothing: only an accepted packet does", (t) => {
  const window = new ReplayWindow(64);
  offer(window, 10);
  t.true(window.check(0, 5000));
  t.true(window.check(0, 5000));
  t.is(topOf(window), 10);
  t.true(offer(window, 9));
});

test("any sequence of numbers is judged as by the naive model", (t) => {
  const size = fc.constantFrom(32, 33, 64, 100, 1024, 4096);
  const start = fc.constantFrom(0, 1, 31, 4000, 0xffffd000);
  const steps = fc.array(fc.oneof(fc.integer({ min: -40, max: 40 }), fc.integer({ min: -5000, max: 5000 })), {
    maxLength: 300,
  });
  t.notThrows(() =>
    fc.assert(
      fc.property(size, start, steps, (size, start, steps) => {
        const window = new ReplayWindow(size);
        const naive = new NaiveWindow(size);
        let sequence: number = start;
        for (const step of steps) {
          sequence = Math.min(Math.max(sequence + step, 0), 0xffffffff);
          if (offer(window, sequence) !== naive.offer(sequence)) return false;
        }
        return true;
      }),
      { numRuns: 300 },
    ),
  );
});

test("with extended numbers any sequence is judged as by the naive model, across every overflow of the low word", (t) => {
  const size = fc.constantFrom(32, 33, 64, 1024, 4096);
  const start = fc.constantFrom(1, 4000, 2 ** 32 - 100, 2 ** 32, 2 ** 32 + 4096, 7 * 2 ** 32 - 3);
  // The low 32 bits of a number further ahead than half of them would be another number's.
  const steps = fc.array(
    fc.oneof(fc.integer({ min: -40, max: 40 }), fc.integer({ min: -5000, max: 2 ** 31 - 5000 })),
    { maxLength: 300 },
  );
  t.notThrows(() =>
    fc.assert(
      fc.property(size, start, steps, (size, start, steps) => {
        const window = new ReplayWindow(size, true);
        const naive = new NaiveWindow(size);
        // The appendix starts at 0; get to the start by steps that it can follow.
        for (let at = 1; at < start; at += 2 ** 31) if (offer(window, at) !== naive.offer(at)) return false;
        let sequence: number = start;
        for (const step of steps) {
          sequence = Math.max(sequence + step, 0);
          if (offer(window, sequence) !== naive.offer(sequence)) return false;
        }
        return true;
      }),
      { numRuns: 300 },
    ),
  );
});

test("numbers accepted as the next ones are accepted as they are one by one", (t) => {
  const size = fc.constantFrom(32, 33, 64, 1024, 4096);
  const start = fc.constantFrom(0, 1, 31, 32, 4000, 2 ** 32 - 10_000);
  const steps = fc.array(fc.record({ skipped: fc.nat(200), count: fc.nat(100) }), { maxLength: 30 });
  fc.assert(
    fc.property(size, start, steps, (size, start, steps) => {
      const together = new ReplayWindow(size);
      const alone = new ReplayWindow(size);
      for (const window of [together, alone]) offer(window, start);
      for (const { skipped, count } of steps) {
        for (const window of [together, alone]) offer(window, topOf(window) + skipped + 1);
        together.acceptNext(count);
        for (let i = 0; i < count; i++) offer(alone, topOf(alone) + 1);
        t.is(topOf(together), topOf(alone));
        for (let behind = -1; behind <= size; behind++) {
          const low = together.topLow - behind;
          t.is(together.check(0, low), alone.check(0, low), `${behind} behind ${topOf(alone)}`);
        }
      }
    }),
    { numRuns: 30 },
  );
});

test("extended numbers end at 2^64 - 1, and low words before the first number belong to no packet", (t) => {
  const window = new ReplayWindow(64, true);
  t.false(window.check(window.high(0xffffffff), 0xffffffff));
  window.accept(0xffffffff, 0xfffffff0);
  t.is(window.high(0xffffffff), 0xffffffff);
  t.true(window.check(0xffffffff, 0xffffffff));
  t.is(window.high(0xfffffff0 - 64), 2 ** 32);
  t.false(window.check(2 ** 32, 0xfffffff0 - 64));
  t.false(window.check(2 ** 32, 5));
});

test("a window with extended numbers that is resized just behind an overflow knows what it has seen before it", (t) => {
  const window = new ReplayWindow(128, true);
  for (let sequence = 2 ** 32 - 200; sequence < 2 ** 32 + 20; sequence += 2) {
    window.accept(Math.floor(sequence / 2 ** 32), sequence % 2 ** 32);
  }
  const resized = window.resized(64);
  for (let sequence = 2 ** 32 - 250; sequence <= 2 ** 32 + 30; sequence++) {
    const high = Math.floor(sequence / 2 ** 32);
    const low = sequence % 2 ** 32;
    const expected = window.check(high, low) && sequence > topOf(window) - 64;
    if (resized.check(high, low) !== expected) t.fail(`number ${sequence}`);
  }
  t.is(topOf(resized), topOf(window));
});

for (const [before, after] of [
  [64, 4096],
  [4096, 64],
  [128, 32],
] as const) {
  test(`resizing a window of ${before} to ${after} accepts nothing that was seen or too old`, (t) => {
    const window = new ReplayWindow(before);
    for (let sequence = 1; sequence <= 5000; sequence += 3) offer(window, sequence);
    const resized = window.resized(after);
    t.is(resized.size, after);
    t.is(topOf(resized), topOf(window));
    for (let sequence = 1; sequence <= 5100; sequence++) {
      const expected = window.check(0, sequence) && sequence > topOf(window) - after;
      if (resized.check(0, sequence) !== expected) t.fail(`number ${sequence}`);
    }
  });
}

for (const [size, esn, last] of [
  [64, false, 1],
  [64, false, 31],
  [64, false, 63],
  [100, false, 5000],
  [4096, true, 2 ** 32 - 1],
  [64, true, 2 ** 32],
  [64, true, 3 * 2 ** 32 + 17],
] as const) {
  test(`a window of ${size} that goes on from ${last} accepts all above it, once, and nothing else`, (t) => {
    const window = new ReplayWindow(size, esn, sequenceNumber(last, esn));
    t.is(topOf(window), last);
    const offered = (sequence: number): boolean => {
      const low = sequence % 2 ** 32;
      const high = window.high(low);
      const accepts = high * 2 ** 32 + low === sequence && window.check(high, low);
      if (accepts) window.accept(high, low);
      return accepts;
    };
    for (let sequence = Math.max(1, last - 2 * size); sequence <= last; sequence++)
      if (offered(sequence)) t.fail(`number ${sequence}`);
    for (const ahead of [3, 1, size, 2, 40, 5 * size])
      if (!offered(last + ahead) || offered(last + ahead)) t.fail(`${ahead} ahead`);
    t.is(topOf(window), last + 5 * size);
  });
}

test("what goes on from a number beyond 2^32 without extended numbers has none left", (t) => {
  t.deepEqual(sequenceNumber(2 ** 32 + 5, false), { high: 0, low: 2 ** 32 - 1 });
});
