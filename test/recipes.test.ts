import { readFileSync } from "node:fs";
import test from "ava";
import { lint } from "../src/compiler/lint.js";
import { formatDiagnostic, parsePolicy } from "../src/config/index.js";

const text = readFileSync("docs/recipes.md", "utf8");
const policies = [...text.matchAll(/^```yaml\n(.*?)^```$/gms)].map(([, yaml = ""]) => yaml);

test("docs/recipes.md has policies", (t) => t.is(policies.length, 2));

for (const [index, yaml] of policies.entries())
  test(`policy ${index + 1} of docs/recipes.md is whole, and nothing is to be warned of`, (t) => {
    const { policy, diagnostics } = parsePolicy(yaml, "recipes.md");
    t.deepEqual(diagnostics.map(formatDiagnostic), []);
    t.deepEqual(policy === null ? ["none"] : lint(policy).map(formatDiagnostic), []);
  });
