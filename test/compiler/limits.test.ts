/** What does not fit is refused as the policy's error, before memory is taken for it. */
import test from "ava";
import { CompileError } from "../../src/compiler/error.js";
import { allocatePrefixes, putPrefix, sortPrefixes } from "../../src/compiler/prefix-set.js";
import { buildPrefixTrie } from "../../src/compiler/prefix-table.js";
import { EntrySize, Table, type TableName } from "../../src/compiler/table.js";

for (const [name, what] of [
  ["rules6", "rules"],
  ["trie6", "subnets"],
  ["pilots4", "exact flows"],
  ["groups", "groups"],
] as const satisfies [TableName, string][])
  test(`table ${name}: more ${what} than can be read are refused`, (t) => {
    const error = t.throws(() => new Table(name).reserve(Math.floor(2 ** 29 / EntrySize[name]) + 1), {
      instanceOf: CompileError,
    });
    t.regex(error?.message ?? "", new RegExp(`^the ${what} do not fit: table ${name} would need 513 MiB`));
  });

test("prefixes whose nodes a value cannot name are refused", (t) => {
  const nested = allocatePrefixes(4, 32);
  for (let i = 0; i < 32; i++) putPrefix(nested, i, { family: 4, words: [0], length: i + 1 }, i);
  const build = (nodesMax?: number) =>
    buildPrefixTrie(sortPrefixes(nested), new Table("trie4"), "trie4", nodesMax);
  t.is(build().has_nodes, 1);
  t.throws(() => build(8), { instanceOf: CompileError, message: /^the 32 subnets do not fit: nodes / });
});
