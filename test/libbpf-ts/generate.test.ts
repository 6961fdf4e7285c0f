import { execFileSync, spawnSync } from "node:child_process";
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import test, { type ExecutionContext } from "ava";
import { generateModule } from "libbpf-ts";
import { fixtureFolder } from "./support/bpf-test.js";

const fixtures = fixtureFolder(test);
const BIN = "src/libbpf-ts/bin/libbpf-ts.js";

/** Type-checks files under this project's strict settings; gives the compiler's words, "" where it has none. */
function typeCheck(t: ExecutionContext, files: Record<string, string>): string {
  const folder = mkdtempSync(join(tmpdir(), "types-"));
  t.teardown(() => rmSync(folder, { recursive: true }));
  symlinkSync(resolve("node_modules"), join(folder, "node_modules"));
  writeFileSync(join(folder, "package.json"), '{"type": "module"}');
  writeFileSync(
    join(folder, "tsconfig.json"),
    JSON.stringify({
      extends: resolve("tsconfig.base.json"),
      compilerOptions: { noEmit: true, composite: false, declaration: false, types: ["node"] },
      include: ["*.ts", "*.mts"],
    }),
  );
  for (const [name, text] of Object.entries(files)) writeFileSync(join(folder, name), text);
  const { stdout } = spawnSync(process.execPath, ["node_modules/typescript/bin/tsc", "-p", folder], {
    encoding: "utf8",
  });
  return stdout;
}

test("a wrong field is a compile error, and what is right compiles", async (t) => {
  const module = generateModule(await fixtures.object("typed"));
  const use = `
import { RingBuffer } from "libbpf-ts";
import { Address, Color, Event, type Everything, FlowKey, TypedObject } from "./typed.bpf.js";
using bpf = TypedObject.open("typed.bpf.o");
const key: FlowKey = { source: 1, destination: 2, port: 3, pad: 0 };
const found: Everything | undefined = bpf.load().maps.flows.lookup(key);
const name: string | undefined = found?.name;
const tagged: bigint | undefined = found?.tagged;
bpf.rodata.limit = Color.GREEN;
bpf.maps.mapped.update(1, 2n);
bpf.maps.by_color.update(Color.RED, [{ number: 1, color: Color.BLUE, time: 3n }]);
bpf.maps.tables.lookup(0)?.update(80, { number: 1, color: 7, time: 3n });
const size: number = FlowKey.offsets.port + Event.size;
new RingBuffer(bpf.maps.events, Event).drain(({ time }) => time satisfies bigint);
Address.encode({ family: 2, v4: 1 });
bpf.programs.compare.testRun({});
console.log(name, tagged, size);

// @ts-expect-error no such map
bpf.maps.flow;
// @ts-expect-error no such program
bpf.programs.comparison;
// @ts-expect-error no such field
bpf.maps.flows.lookup({ ...key, sauce: 1 });
// @ts-expect-error a field left out
bpf.maps.flows.lookup({ source: 1, destination: 2, port: 3 });
// @ts-expect-error 64 bits are a bigint
bpf.maps.mapped.update(1, 2);
// @ts-expect-error no value of the enum
bpf.rodata.limit = 5;
// @ts-expect-error no such variable
bpf.rodata.limits = 7;
// @ts-expect-error two members of a union
Address.encode({ family: 2, v4: 1, v6: new Uint8Array(16) });
// @ts-expect-error no member of a union
Address.encode({ family: 2 });
// @ts-expect-error no such offset
FlowKey.offsets.harbour;
`;
  t.is(typeCheck(t, { "typed.bpf.ts": module, "use.ts": use }), "");
});

test("the modules of every object of bpf/ and of the fixtures compile under strict TypeScript", async (t) => {
  const objects = readdirSync("dist/bpf").filter((name) => name.endsWith(".bpf.o"));
  t.true(objects.length > 3);
  const files = Object.fromEntries(
    objects.map((name) => [name.replace(/\.o$/, ".ts"), generateModule(join("dist/bpf", name))]),
  );
  for (const name of ["basics", "nested", "hooks", "perf"])
    files[`${name}.bpf.ts`] = generateModule(await fixtures.object(name));
  t.is(typeCheck(t, files), "");
});

test("a module of types only says the same of them and needs neither libbpf nor koffi", async (t) => {
  const object = await fixtures.object("typed");
  const types = generateModule(object, { typesOnly: true });
  t.notRegex(types, /TypedObject/);
  for (const [definition] of types.matchAll(/^export const \w+ = .*$/gm))
    t.true(generateModule(object).includes(definition));
  t.is(typeCheck(t, { "types.bpf.ts": types, "use.ts": USE_OF_TYPES }), "");
  const folder = mkdtempSync(join(tmpdir(), "types-"));
  t.teardown(() => rmSync(folder, { recursive: true }));
  mkdirSync(join(folder, "node_modules"));
  symlinkSync(resolve("src/libbpf-ts"), join(folder, "node_modules/libbpf-ts"));
  writeFileSync(join(folder, "types.bpf.ts"), types);
  writeFileSync(join(folder, "use.mts"), USE_OF_TYPES);
  const run = [resolve("node_modules/tsx/dist/cli.mjs"), "use.mts"];
  const output = execFileSync(process.execPath, run, { cwd: folder, encoding: "utf8" });
  t.deepEqual(JSON.parse(output), { size: 16, libraries: [] });
});

const USE_OF_TYPES = `
import { Color, Event } from "./types.bpf.js";
const bytes = Event.encode({ number: 1, color: Color.GREEN, time: 3n });
const { sharedObjects } = process.report.getReport() as { sharedObjects: string[] };
const libraries = sharedObjects.filter((path) => /koffi|libbpf/.test(path));
console.log(JSON.stringify({ size: bytes.length, libraries }));
`;

test("the README's example is TypeScript too", (t) => {
  const readme = readFileSync("src/libbpf-ts/README.md", "utf8");
  const [, example = ""] = /^```js\n([\s\S]*?)^```$/m.exec(readme) ?? [];
  t.is(typeCheck(t, { "watch.mts": example }), "");
});

test("the command line writes beside the object, to a file or to standard output", async (t) => {
  const object = await fixtures.object("basics");
  const folder = join(fixtures.folder, "out");
  mkdirSync(folder);
  const module = generateModule(object);
  const run = (...args: string[]) =>
    execFileSync(process.execPath, [BIN, "gen", ...args], { encoding: "utf8" });
  t.is(run(object, "-o", "-"), module);
  t.is(run(object, "-o", join(folder, "x.ts")), "");
  t.is(readFileSync(join(folder, "x.ts"), "utf8"), module);
  run(object);
  t.is(readFileSync(object.replace(/\.o$/, ".ts"), "utf8"), module);
  t.is(run(object, "-o", "-", "--types-only"), generateModule(object, { typesOnly: true }));
  t.regex(run(object, "-o", "-", "--name", "other_one", "--type", "pair"), /OtherOneObject/);
});

const misuses: [what: string, args: string[], status: number, message: RegExp][] = [
  ["no command", [], 2, /no command[\s\S]*usage:/],
  ["an unknown command", ["make"], 2, /no command "make"/],
  ["no object", ["gen"], 2, /give one object file/],
  ["an unknown option", ["gen", "--nope"], 2, /--nope/],
  ["a name that is no object's, without -o", ["gen", "x"], 2, /by -o/],
  ["an object that is not there", ["gen", "/nowhere.o"], 1, /ENOENT.*compile it first/],
  ["a folder that is not there", ["gen", "dist/bpf/steer_tun.bpf.o", "-o", "/nowhere/x.ts"], 1, /ENOENT/],
];
for (const [what, args, status, message] of misuses) {
  test(`the command line answers ${what} without a stack trace`, (t) => {
    const result = spawnSync(process.execPath, [BIN, ...args], { encoding: "utf8" });
    t.is(result.status, status);
    t.regex(result.stderr, message);
    t.notRegex(result.stderr, /^\s+at /m);
  });
}
