import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { rmSync } from "node:fs";
import { text } from "node:stream/consumers";
import { BpfObject } from "libbpf-ts";
import { withNetns } from "../support/netns.js";
import { kernelTest } from "./support/bpf-test.js";
import { unpackReadme } from "./support/readme.js";

kernelTest("libbpf-ts: the README's example counts packets", async (t) => {
  const folder = unpackReadme("src/libbpf-ts/README.md");
  t.teardown(() => rmSync(folder, { recursive: true }));
  await withNetns(async (ns) => {
    const command = ["netns", "exec", ns.name, process.execPath, "count.mjs", String(ns.ifindex("lo"))];
    const env = { ...process.env, XDG_CACHE_HOME: folder };
    const child = spawn("ip", command, { cwd: folder, env, stdio: ["ignore", "pipe", "inherit"] });
    const ended = once(child, "exit");
    const output = text(child.stdout);
    await Promise.race([once(child.stdout, "data"), ended]); // "attached by ..."
    ns.exec("ping", "-c", "3", "-i", "0.01", "127.0.0.1");
    await ended;
    t.regex(await output, /packets\n$/);
    t.regex(await output, /^([6-9]|\d\d+) packets$/m, "three echoes and three replies at least");
  });
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
