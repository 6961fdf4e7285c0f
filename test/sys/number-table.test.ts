import test from "ava";
import fc from "fast-check";
import { NumberTable } from "../../src/sys/number-table.js";

const key = fc.integer({ min: 1, max: 2 ** 32 - 1 });

test("finds what a Map finds, and nothing else", (t) => {
  fc.assert(
    fc.property(fc.array(fc.tuple(key, fc.string())), fc.array(key), (entries, others) => {
      const map = new Map(entries);
      const table = new NumberTable(map);
      return [...map.keys(), ...others].every((each) => table.get(each) === map.get(each));
    }),
  );
  t.pass();
});

test("numbers that follow one another, and those that differ in their upper bits alone", (t) => {
  for (const step of [1, 7, 2 ** 16, 2 ** 20]) {
    const entries = Array.from({ length: 2000 }, (_, i) => [(1 + i * step) >>> 0, i] as const);
    const table = new NumberTable(entries);
    for (const [number, index] of entries) t.is(table.get(number), index);
    t.is(table.get(0), undefined);
  }
});

test("refuses a key that is 0 or there twice", (t) => {
  t.throws(() => new NumberTable([[0, "a"]]), { instanceOf: RangeError, message: /^0 / });
  t.throws(
    () =>
      new NumberTable([
        [5, "a"],
        [5, "b"],
      ]),
    { instanceOf: RangeError, message: /^5 / },
  );
});
