import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { text } from "node:stream/consumers";
import test, { type ExecutionContext } from "ava";
import { BpfObject } from "libbpf-ts";
import { withNetns } from "../support/netns.js";
import { kernelTest } from "./support/bpf-test.js";
import { ownBpffs } from "./support/bpffs.js";
import { unpackReadme } from "./support/readme.js";

kernelTest("libbpf-ts: the README's example streams events from a veth", async (t) => {
  const folder = unpackReadme("src/libbpf-ts/README.md");
  t.teardown(() => rmSync(folder, { recursive: true }));
  await withNetns(async (ns) => {
    ns.ip("link add v0 type veth peer name v1");
    ns.ip("link set v1 up");
    ns.ip("link set v0 up");
    ns.ip("address add 10.9.0.1/24 dev v0");
    const command = ["netns", "exec", ns.name, process.execPath, "watch.mjs", String(ns.ifindex("v0"))];
    const env = { ...process.env, XDG_CACHE_HOME: folder };
    const child = spawn("ip", command, { cwd: folder, env, stdio: ["ignore", "pipe", "inherit"] });
    const ended = once(child, "exit");
    const output = text(child.stdout);
    await Promise.race([once(child.stdout, "data"), ended]); // "attached by ..."
    ns.exec("sh", "-c", "ping -c 5 -i 0.01 -W 1 -b 10.9.0.255 2>&1 || true"); // nobody answers
    t.deepEqual(await ended, [0, null]);
    t.regex(await output, /^attached by (tcx|clsact)\n(\d+ bytes of protocol 0x(800|806|86dd)\n){3,}$/);
  });
});

kernelTest("libbpf-ts: the README's example has at most 40 lines of each language", (t) => {
  const readme = readFileSync("src/libbpf-ts/README.md", "utf8");
  for (const language of ["c", "js"]) {
    const [, body = ""] = new RegExp(`^\`\`\`${language}\\n([\\s\\S]*?)^\`\`\`$`, "m").exec(readme) ?? [];
    const lines = body.split("\n").filter((line) => line.trim() !== "").length;
    t.true(lines > 10 && lines <= 40, `${lines} lines of ${language}`);
  }
});

/** Runs an example in a folder of its own; gives what it wrote. */
function runExample(t: ExecutionContext, name: string, prefix: string[] = [], args: string[] = []): string {
  const folder = mkdtempSync(join(tmpdir(), "example-"));
  t.teardown(() => rmSync(folder, { recursive: true }));
  const env = { ...process.env, XDG_CACHE_HOME: folder };
  const [program = "", ...rest] = [...prefix, process.execPath, resolve(`src/${name}.mjs`), ...args];
  return execFileSync(program, rest, { cwd: folder, env, encoding: "utf8" });
}

kernelTest("example: globals", (t) => {
  t.is(runExample(t, "libbpf-ts/examples/globals"), "115n\n");
});

kernelTest("example: maps", (t) => {
  t.is(runExample(t, "libbpf-ts/examples/maps"), "2\n2\n10n\n20n\n8080\n");
});

kernelTest("example: links", async (t) => {
  const bpffs = ownBpffs(t);
  await withNetns((ns) => {
    const prefix = ["nsenter", `--net=/run/netns/${ns.name}`];
    t.is(
      runExample(t, "libbpf-ts/examples/links", prefix, [String(ns.ifindex("lo")), `${bpffs}/link`]),
      "done\n",
    );
  });
});

kernelTest("example: features", (t) => {
  t.regex(runExample(t, "libbpf-ts/examples/features"), /map type ringbuf: true\n(.*\n)*tcx: (true|false)\n/);
});

kernelTest("example: errors", (t) => {
  t.regex(runExample(t, "libbpf-ts/examples/errors"), /the verifier refused it.*data_end[\s\S]*\ntrue\n$/);
});

kernelTest("bpf-linker: the README's example builds a filter that loads", (t) => {
  const folder = unpackReadme("src/bpf-linker/README.md");
  t.teardown(() => rmSync(folder, { recursive: true }));
  const env = { ...process.env, XDG_CACHE_HOME: folder };
  const output = execFileSync(process.execPath, ["build.mjs"], { cwd: folder, env, encoding: "utf8" });
  t.is(output, "filter.bpf.o\n");
  using object = BpfObject.open(`${folder}/filter.bpf.o`);
  const run = (bytes: number) => object.program("drop_long").testRun({ data: new Uint8Array(bytes) }).retval;
  object.load();
  t.is(run(1000), 0);
  t.is(run(1401), 2);
});

test("example: inline shows that LLVM leaves no function beside the program", (t) => {
  const output = runExample(t, "bpf-linker/examples/inline");
  const [byLibbpf = 0, byLlvm = 0] = [...output.matchAll(/codeBytes: (\d+)/g)].map((match) =>
    Number(match[1]),
  );
  t.true(byLlvm > 0 && byLlvm < byLibbpf, output);
});

kernelTest("example: vmlinux", (t) => {
  t.is(runExample(t, "bpf-linker/examples/vmlinux"), "true\n");
});
