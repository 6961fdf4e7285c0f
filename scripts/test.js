#!/usr/bin/env node
/**
 * Set-up, then every test; the last line counts what the runner itself reported: N passed, N failed, N skipped. With CI
 * in the environment a skipped test is a failure of the whole, as what it needs should be there.
 */
import { spawn, spawnSync } from "node:child_process";
import { dirname } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const setup = spawnSync(process.execPath, ["scripts/setup.js"], { cwd: root, stdio: "inherit" });
if (setup.status !== 0) process.exit(setup.status ?? 1);

const count = { passed: 0, failed: 0, skipped: 0 };
/** Titles of the skipped tests. */
const skipped = [];
const ava = spawn(
  process.execPath,
  ["node_modules/ava/entrypoints/cli.mjs", "--tap", ...process.argv.slice(2)],
  {
    cwd: root,
    stdio: ["ignore", "pipe", "inherit"],
  },
);
for await (const line of createInterface({ input: ava.stdout })) {
  const result = /^(not )?ok \d+ - (.*)$/.exec(line);
  if (!result) {
    // TAP's plan and comments are noise here; the diagnostics of a failure are indented.
    if (/^\s/.test(line)) console.log(line);
    continue;
  }
  if (/# (SKIP|TODO)\b/.test(line)) {
    count.skipped++;
    skipped.push(result[2]);
  } else if (result[1]) count.failed++;
  else count.passed++;
  console.log(line);
}
const status = await new Promise((resolve) => {
  if (ava.exitCode !== null) resolve(ava.exitCode);
  else ava.on("close", resolve);
});
if (status !== 0 && count.failed === 0) count.failed++; // a file that crashed or ran no test is no test of its own in TAP
const lacking = process.env.CI ? skipped : [];
for (const title of lacking) console.error(`skipped, which CI does not allow: ${title}`);
console.log(`${count.passed} passed, ${count.failed} failed, ${count.skipped} skipped`);
process.exit(status === 0 && count.failed === 0 && count.passed > 0 && lacking.length === 0 ? 0 : 1);
