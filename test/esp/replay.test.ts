import test from "ava";
import fc from "fast-check";
import { ReplayWindow } from "../../src/esp/replay.js";

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
  if (!window.check(sequence)) return false;
  window.accept(sequence);
  return true;
}

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
  t.true(window.check(5000));
  t.true(window.check(5000));
  t.is(window.top, 10);
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
    t.is(resized.top, window.top);
    for (let sequence = 1; sequence <= 5100; sequence++) {
      const expected = window.check(sequence) && sequence > window.top - after;
      if (resized.check(sequence) !== expected) t.fail(`number ${sequence}`);
    }
  });
}
