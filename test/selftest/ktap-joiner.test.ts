import test from "ava";
import { KtapJoiner } from "../../src/selftest/ktap-joiner.js";
import type { Scenario } from "../../src/selftest/scenario.js";
import { divide, machinesFor } from "../../src/selftest/vm/divide.js";

test("streams that come in turn are joined by whole tests, numbered anew", (t) => {
  let text = "";
  const joiner = new KtapJoiner((more) => {
    text += more;
  }, 3);
  const [a, b] = [joiner.stream(), joiner.stream()];
  a("KTAP version 1\n1..2\n  KTAP version 1\n  ok 1 st");
  b("KTAP version 1\n1..1\n# seen: 1\nnot ok 1 third\n");
  a("ep\nok 1 first\nok 2 second # SKIP why\n");
  joiner.end();
  t.is(
    text,
    `KTAP version 1
1..3
# seen: 1
not ok 1 third
  KTAP version 1
  ok 1 step
ok 2 first
ok 3 second # SKIP why
`,
  );
});

test("what a stream said before it broke off is not lost", (t) => {
  const written: string[] = [];
  const joiner = new KtapJoiner((text) => written.push(text), 1);
  joiner.stream()("# hanging\n");
  joiner.end();
  t.is(written.at(-1), "# hanging\n");
});

const named = (name: string, typicalMs?: number): Scenario => ({
  ...{ name, topology: "", run: async () => {} },
  ...(typicalMs === undefined ? {} : { typicalMs }),
});

test("scenarios are divided by how long they take, in their order", (t) => {
  const all = [named("a"), named("long", 180_000), named("b"), named("c")];
  const names = divide(all, 2).map((share) => share.map(({ name }) => name));
  t.deepEqual(names, [["long"], ["a", "b", "c"]]);
});

test("a few scenarios are not worth a second machine", (t) => {
  t.is(machinesFor(7, 4), 1);
  t.is(machinesFor(40, 1), 1);
  t.is(machinesFor(40, 4), 2);
});
