import test from "ava";
import { KtapWriter } from "../../src/selftest/ktap.js";
import { KtapParser, type KtapTest } from "../../src/selftest/ktap-parser.js";

function written(write: (ktap: KtapWriter) => void, plan?: number): string {
  let text = "";
  const ktap = new KtapWriter((part) => {
    text += part;
  }, plan);
  write(ktap);
  return text;
}

const writes: { name: string; plan?: number; write: (ktap: KtapWriter) => void; expected: string }[] = [
  { name: "a version line and a plan", plan: 2, write: () => {}, expected: "KTAP version 1\n1..2\n" },
  {
    name: "results in order",
    write: (ktap) => {
      ktap.result(true, "one");
      ktap.result(false, "two");
    },
    expected: "KTAP version 1\nok 1 one\nnot ok 2 two\n",
  },
  {
    name: "a skip with its reason on one line",
    write: (ktap) => ktap.result(true, "one", "needs Linux 6.2\n(kfunc)"),
    expected: "KTAP version 1\nok 1 one # SKIP needs Linux 6.2 (kfunc)\n",
  },
  {
    name: "a # in a name so that it starts no directive",
    write: (ktap) => ktap.result(true, "issue #3"),
    expected: "KTAP version 1\nok 1 issue \\#3\n",
  },
  {
    name: "every line of a diagnostic",
    write: (ktap) => ktap.diagnostic("expected: 1\nseen: 2"),
    expected: "KTAP version 1\n# expected: 1\n# seen: 2\n",
  },
  {
    name: "subtests indented, with a version line of their own, before their result",
    write: (ktap) => {
      const subtests = ktap.subtests();
      subtests.diagnostic("why");
      subtests.result(false, "part");
      ktap.result(false, "whole");
    },
    expected: "KTAP version 1\n  KTAP version 1\n  # why\n  not ok 1 part\nnot ok 1 whole\n",
  },
];

for (const { name, plan, write, expected } of writes) {
  test(`writes ${name}`, (t) => t.is(written(write, plan), expected));
}

test("writes a plan of nothing with the reason", (t) => {
  let text = "";
  KtapWriter.skipAll((part) => {
    text += part;
  }, "not root");
  t.is(text, "KTAP version 1\n1..0 # SKIP not root\n");
});

const ran = (name: string, ok: boolean, diagnostics: string[] = []): KtapTest => ({
  ...{ name, ok, skip: undefined, diagnostics },
});

const reads: { name: string; text: string; plan?: number; skipAll?: string; tests: KtapTest[] }[] = [
  { name: "results", text: "1..2\nok 1 a\nnot ok 2 b\n", plan: 2, tests: [ran("a", true), ran("b", false)] },
  {
    name: "a skip's reason",
    text: "ok 1 a # SKIP needs 6.2\n",
    tests: [{ name: "a", ok: true, skip: "needs 6.2", diagnostics: [] }],
  },
  { name: "an escaped #", text: "ok 1 issue \\#3\n", tests: [ran("issue #3", true)] },
  { name: "a name without a dash before it", text: "ok 12 a b c\n", tests: [ran("a b c", true)] },
  {
    name: "diagnostics and subtests as the next result's",
    text: "# seen 2\n  KTAP version 1\n  not ok 1 part\nnot ok 1 a\nok 2 b\n",
    tests: [ran("a", false, ["seen 2", "  not ok 1 part"]), ran("b", true)],
  },
  { name: "a plan of nothing", text: "1..0 # SKIP not root\n", plan: 0, skipAll: "not root", tests: [] },
];

for (const { name, text, plan, skipAll, tests } of reads) {
  for (const size of [1, 7, text.length]) {
    test(`reads ${name}, in pieces of ${size}`, (t) => {
      const parser = new KtapParser();
      parser.push("KTAP version 1\n");
      for (let at = 0; at < text.length; at += size) parser.push(text.slice(at, at + size));
      t.deepEqual(parser.tests, tests);
      t.is(parser.plan, plan);
      t.is(parser.skipAll, skipAll);
      t.deepEqual(parser.unfinished(), []);
    });
  }
}

test("keeps what a test said that never ended", (t) => {
  const parser = new KtapParser();
  parser.push("1..2\nok 1 a\n# began\nnot o");
  t.deepEqual(parser.unfinished(), ["began", "not o"]);
});

test("reads what the writer writes", (t) => {
  const parser = new KtapParser();
  parser.push(
    written((ktap) => {
      ktap.diagnostic("took 3 ms");
      ktap.result(true, "a #1");
      ktap.result(true, "b", "needs # 6.2");
    }, 2),
  );
  t.deepEqual(parser.tests, [
    ran("a #1", true, ["took 3 ms"]),
    { name: "b", ok: true, skip: "needs # 6.2", diagnostics: [] },
  ]);
});
