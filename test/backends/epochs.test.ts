import test from "ava";
import { Epochs } from "../../src/backends/userspace/epochs.js";
import { EPOCHS } from "../../src/esp/index.js";

type Owners = Readonly<Record<string, number>>;

/** The epoch of a policy that comes into force. */
function begin(epochs: Epochs, owners: Owners): number {
  const { epoch, begin } = epochs.for(Object.entries(owners).map(([name, ifId]) => ({ name, ifId })));
  begin();
  return epoch;
}

const FIRST = { a: 1, b: 2 };

for (const [name, then, isNew] of [
  ["the same", FIRST, false],
  ["one more", { ...FIRST, c: 3 }, false],
  ["one less", { a: 1 }, false],
  ["another if_id that nobody had", { a: 1, b: 3 }, false],
  ["if_ids exchanged", { a: 2, b: 1 }, true],
  ["an if_id given to a new connection", { b: 2, c: 1 }, true],
  ["the first of those that are enumerated gone", { b: 1 }, true],
] as [string, Owners, boolean][])
  test(`an epoch ends where an if_id becomes another connection's: ${name}`, (t) => {
    const epochs = new Epochs();
    const first = begin(epochs, FIRST);
    t.is(begin(epochs, then), isNew ? (first + 1) % EPOCHS : first);
  });

test("an if_id that was free for a while still is the one's that had it", (t) => {
  const epochs = new Epochs();
  const first = begin(epochs, FIRST);
  t.is(begin(epochs, { b: 2 }), first);
  t.is(begin(epochs, { a: 1, b: 2 }), first, "the same connection");
  t.is(begin(epochs, { b: 2 }), first);
  t.not(begin(epochs, { c: 1, b: 2 }), first);
});

test("a policy that does not come into force changes nothing, and its epoch is never another's", (t) => {
  const epochs = new Epochs();
  const first = begin(epochs, FIRST);
  const refused = epochs.for([{ name: "b", ifId: 1 }]).epoch;
  t.is(begin(epochs, FIRST), first);
  const then = begin(epochs, { b: 1 });
  t.is(new Set([first, refused, then]).size, 3);
});

test("if_ids of connections long gone are forgotten, in an epoch of its own", (t) => {
  const epochs = new Epochs();
  const first = begin(epochs, FIRST);
  let epoch = first;
  let applied = 0;
  for (; epoch === first && applied < 10_000; applied++)
    epoch = begin(epochs, { [`c${applied}`]: 10 + applied });
  t.true(applied < 5000, `${applied}`);
});

test("each engine begins with an epoch of its own", (t) => {
  const epochs = Array.from({ length: 20 }, () => begin(new Epochs(), FIRST));
  t.true(new Set(epochs).size > 18); // 20 of 2^24: two are the same once in 88,000 runs
});
