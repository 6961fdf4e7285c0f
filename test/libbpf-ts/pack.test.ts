import { execFileSync, spawnSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync, unlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test, { type ExecutionContext } from "ava";
import { withNetns } from "../support/netns.js";
import { kernelTest } from "./support/bpf-test.js";
import { unpackReadme } from "./support/readme.js";

const PACKAGES = ["libbpf-ts", "bpf-linker"] as const;

function ownFolder(t: ExecutionContext): string {
  const folder = mkdtempSync(join(tmpdir(), "pack-"));
  t.teardown(() => rmSync(folder, { recursive: true }));
  return folder;
}

const npm = (cwd: string, ...args: string[]): string =>
  execFileSync("npm", args, { cwd, encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] });

for (const name of PACKAGES) {
  test(`${name}: the package has what it needs and nothing else`, (t) => {
    const [{ files }] = JSON.parse(npm(`src/${name}`, "pack", "--dry-run", "--json"));
    const paths: string[] = files.map(({ path }: { path: string }) => path);
    for (const wanted of [
      "package.json",
      "README.md",
      "API.md",
      "LICENSE",
      "dist/index.js",
      "dist/index.d.ts",
    ])
      t.true(paths.includes(wanted), wanted);
    const modules = paths.filter((path) => /^dist\/.*\.js$/.test(path));
    for (const module of modules) t.true(paths.includes(module.replace(/\.js$/, ".d.ts")), module);
    const known =
      /^(package\.json|README\.md|API\.md|LICENSE|bin\/[\w-]+\.js|examples\/[\w.]+|dist\/[\w/-]+(\.d\.ts|\.js))$/;
    t.deepEqual(
      paths.filter((path) => !known.test(path)),
      [],
    );
  });

  test(`${name}: the API reference is that of the sources`, (t) => {
    const args = ["src/libbpf-ts/scripts/api-reference.js", `src/${name}`, "--check"];
    const { status, stderr } = spawnSync(process.execPath, args, { encoding: "utf8" });
    t.is(status, 0, stderr);
  });
}

test("every test that the README's table names is there", (t) => {
  const table = readFileSync("src/libbpf-ts/README.md", "utf8").matchAll(/^\| [^|]+\| [^|]+\| (`[^|]+) \|/gm);
  let rows = 0;
  for (const [, cell = ""] of table) {
    rows++;
    const [, list = "", words = ""] = /^(`[^:]+`)(?:: (.*))?$/.exec(cell) ?? [];
    const text = [...list.matchAll(/`([\w.-]+)`/g)]
      .map(([, file = ""]) => {
        const folder = ["libbpf-ts", "bpf-linker"].find((one) => readdirSync(`test/${one}`).includes(file));
        return readFileSync(`test/${folder}/${file}`, "utf8");
      })
      .join("");
    for (const part of words.split(/; |, (?=the README)/).filter((one) => one !== ""))
      t.true(text.includes(part.split(":")[0]?.trim() ?? ""), part);
  }
  t.true(rows > 20);
});

kernelTest("installed from tarballs in an empty folder, the README's example runs", async (t) => {
  const folder = ownFolder(t);
  const tarballs = PACKAGES.map((name) =>
    join(folder, npm(`src/${name}`, "pack", "--silent", "--pack-destination", folder).trim()),
  );
  writeFileSync(join(folder, "package.json"), '{"private": true}');
  npm(folder, "install", "--prefer-offline", "--no-audit", "--no-fund", ...tarballs);
  const example = unpackReadme("src/libbpf-ts/README.md");
  t.teardown(() => rmSync(example, { recursive: true }));
  for (const name of readdirSync(example)) {
    if (name === "node_modules") unlinkSync(join(example, name));
    else writeFileSync(join(folder, name), readFileSync(join(example, name)));
  }
  await withNetns((ns) => {
    ns.ip("link add v0 type veth peer name v1");
    ns.ip("link set v1 up");
    ns.ip("link set v0 up"); // IPv6's own packets follow
    const command = `XDG_CACHE_HOME=${folder} node watch.mjs ${ns.ifindex("v0")}`;
    const output = execFileSync("ip", ["netns", "exec", ns.name, "sh", "-c", command], {
      cwd: folder,
      encoding: "utf8",
    });
    t.regex(output, /^attached by \w+\n(\d+ bytes of protocol 0x\w+\n){3,}$/);
  });
  const generated = execFileSync(
    join(folder, "node_modules/.bin/libbpf-ts"),
    ["gen", "watch.bpf.o", "-o", "-"],
    {
      cwd: folder,
      encoding: "utf8",
    },
  );
  t.regex(generated, /export interface Event \{/);
});
