import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test from "ava";
import { packageEntries } from "../../../src/selftest/vm/packages.js";

/** A project with these files, by path; the last folder of a link's path is made. */
function project(t: { teardown: (clean: () => void) => void }, files: Record<string, string>): string {
  const root = mkdtempSync(join(tmpdir(), "packages-"));
  t.teardown(() => rmSync(root, { recursive: true }));
  for (const [path, text] of Object.entries(files)) {
    mkdirSync(join(root, path, ".."), { recursive: true });
    writeFileSync(join(root, path), text, { mode: path.includes("/bin/") ? 0o755 : 0o644 });
  }
  return root;
}

test("packs a package with its dependencies, and no more of them than runs", async (t) => {
  const root = project(t, {
    "node_modules/a/package.json": JSON.stringify({
      dependencies: { b: "1" },
      optionalDependencies: { absent: "1" },
    }),
    "node_modules/a/dist/doc/index.js": "",
    "node_modules/a/doc/manual.js": "",
    "node_modules/a/index.d.ts": "",
    "node_modules/a/bin/tool": "",
    "node_modules/b/package.json": "{}",
    "node_modules/b/native.node": "",
    "node_modules/unrelated/package.json": "{}",
  });
  const entries = await packageEntries(["a"], root, "p");
  t.deepEqual(entries.map(({ path, mode }) => [path, mode & 0o777]).sort(), [
    ["p/node_modules/a/bin/tool", 0o755],
    ["p/node_modules/a/dist/doc/index.js", 0o644],
    ["p/node_modules/a/package.json", 0o644],
    ["p/node_modules/b/native.node", 0o644],
    ["p/node_modules/b/package.json", 0o644],
  ]);
});

test("follows a workspace's link, and finds dependencies above it", async (t) => {
  const root = project(t, {
    "src/lib/package.json": JSON.stringify({ dependencies: { b: "1" } }),
    "src/lib/dist/index.js": "",
    "node_modules/b/package.json": "{}",
  });
  symlinkSync("../src/lib", join(root, "node_modules/lib"));
  const paths = (await packageEntries(["lib"], root, "p")).map(({ path }) => path);
  t.deepEqual(paths.sort(), [
    "p/node_modules/b/package.json",
    "p/node_modules/lib/dist/index.js",
    "p/node_modules/lib/package.json",
  ]);
});

test("a dependency that is not installed is an error that says what to do", async (t) => {
  const root = project(t, { "node_modules/a/package.json": JSON.stringify({ dependencies: { gone: "1" } }) });
  await t.throwsAsync(packageEntries(["a"], root, "p"), { message: /packing gone .* run npm ci/ });
});
