import { readdirSync, readFileSync } from "node:fs";
import path from "node:path";
import test from "ava";
import { formatDiagnostic, loadPolicy } from "../../src/config/index.js";

const FOLDER = path.resolve("test/config/broken");
const files = readdirSync(FOLDER).filter((name) => name.endsWith(".yaml"));

for (const name of files) {
  test(`broken file ${name}: every problem is reported with its place`, (t) => {
    const { policy, diagnostics } = loadPolicy(path.join(FOLDER, name));
    t.is(policy, null);
    const actual = diagnostics.map((each) => formatDiagnostic({ ...each, file: path.basename(each.file) }));
    const expected = readFileSync(path.join(FOLDER, name.replace(/yaml$/, "txt")), "utf8");
    t.deepEqual(actual, expected.trimEnd().split("\n"));
  });
}

test("no diagnostic of a broken file quotes key material", (t) => {
  for (const name of files) {
    const { diagnostics } = loadPolicy(path.join(FOLDER, name));
    t.notRegex(diagnostics.map(formatDiagnostic).join("\n"), /00112233|12345678901234567890/, name);
  }
});

test("every expected text belongs to a broken file", (t) => {
  const texts = readdirSync(FOLDER).filter((name) => name.endsWith(".txt"));
  t.deepEqual(
    texts,
    files.map((name) => name.replace(/yaml$/, "txt")),
  );
});
