/** `selftest FILE` as root runs no code that another user chose. */
import { chmodSync, chownSync, existsSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { ExecutionContext } from "ava";
import { packageRoot } from "../../src/sys/paths.js";
import { CLI, execute } from "../support/cli.js";
import { folderWith } from "../support/folder.js";
import { rootTest } from "../support/root-test.js";

/** nobody, on every Debian. */
const ANOTHER = 65534;

const SCENARIO = `import { scenario } from "xfrm-steer/selftest";
export default scenario({ name: "mine", topology: "", run: async () => {} });
`;
/** Of the attacker: tells as whom it ran, and does not disturb what imported it. */
const evil = (told: string) =>
  `import { writeFileSync } from "node:fs";
writeFileSync(${JSON.stringify(told)}, String(process.geteuid?.()));
export const scenario = (options: object) => options;
`;

/** A folder that belongs to another user, with these files of his. */
function anothersFolder(t: ExecutionContext, files: Readonly<Record<string, string>>): string {
  const folder = folderWith(t, files);
  for (const name of ["", ...Object.keys(files)]) chownSync(join(folder, name), ANOTHER, ANOTHER);
  chmodSync(folder, 0o755);
  return folder;
}

const list = (cwd: string, file: string) =>
  execute("env", ["-u", "SUDO_UID", "-C", cwd, process.execPath, CLI, "selftest", "--list", file]);

rootTest("a tsconfig.json in the working folder does not choose the code", async (t) => {
  const folder = anothersFolder(t, {
    "evil.ts": "",
    "tsconfig.json": JSON.stringify({
      compilerOptions: { baseUrl: ".", paths: { "xfrm-steer/selftest": ["./evil.ts"] } },
    }),
  });
  const told = join(folder, "told");
  writeFileSync(join(folder, "evil.ts"), evil(told));
  const { code, stdout, stderr } = await list(folder, join(packageRoot, "examples/own-scenario/office.ts"));
  t.false(existsSync(told), "the attacker's module ran as root");
  t.is(code, 0, stderr);
  t.regex(stdout, /^office-/);
});

for (const [what, name] of [
  ["a TypeScript file", "mine.ts"],
  ["a JavaScript file", "mine.mjs"],
] as const) {
  rootTest(`${what} in another's folder is refused with the reason`, async (t) => {
    const folder = anothersFolder(t, { [name]: "" });
    const told = join(folder, "told");
    writeFileSync(
      join(folder, name),
      evil(told).replaceAll("?.", "").replace(": object", "") + SCENARIO.slice(SCENARIO.indexOf("export")),
    );
    const { code, stderr } = await list("/", join(folder, name));
    t.false(existsSync(told), "the attacker's module ran as root");
    t.is(code, 2);
    t.regex(stderr, new RegExp(`the scenario file .*${name} is not run as root: .* belongs to user 65534`));
  });
}

for (const [what, name, text] of [
  ["imports", "mine.mjs", 'import "helper";\n'],
  ["requires", "mine.cjs", 'require("helper");\n'],
  ["imports from TypeScript", "mine.ts", 'import "helper";\n'],
] as const) {
  rootTest(`a package that another planted above root's file, as in /tmp, is refused: ${what}`, async (t) => {
    const sticky = folderWith(t, { [`own/${name}`]: text });
    chmodSync(sticky, 0o1777);
    const told = join(sticky, "told");
    const planted = join(sticky, "node_modules", "helper");
    mkdirSync(planted, { recursive: true });
    writeFileSync(join(planted, "index.js"), `require("fs").writeFileSync(${JSON.stringify(told)}, "");\n`);
    for (const path of ["node_modules", "node_modules/helper", "node_modules/helper/index.js"])
      chownSync(join(sticky, path), ANOTHER, ANOTHER);
    const { code, stderr } = await list("/", join(sticky, "own", name));
    t.false(existsSync(told), "the attacker's module ran as root");
    t.is(code, 2);
    t.regex(stderr, /the module .*helper.* is not run as root: .* belongs to user 65534/);
  });
}

rootTest("whose clone it is, by SUDO_UID, may run it with sudo", async (t) => {
  const folder = anothersFolder(t, { "mine.mjs": "" });
  writeFileSync(
    join(folder, "mine.mjs"),
    'export default { name: "mine", topology: "", run: async () => {} };\n',
  );
  const run = (uid: number) =>
    execute("env", [
      `SUDO_UID=${uid}`,
      process.execPath,
      CLI,
      "selftest",
      "--list",
      join(folder, "mine.mjs"),
    ]);
  t.regex((await run(65533)).stderr, /belongs to user 65534/);
  t.notRegex((await run(ANOTHER)).stderr, /belongs to user/);
});
