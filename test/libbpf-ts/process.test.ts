import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test from "ava";
import { fixtureFolder, kernelTest } from "./support/bpf-test.js";
import { runModule } from "./support/child.js";

const fixtures = fixtureFolder(test);
const quoted = (text: string) => JSON.stringify(text);

kernelTest("200 objects opened, loaded and closed leave no descriptor", async (t) => {
  const left = runModule(`
    import { readdirSync } from "node:fs";
    import { BpfObject } from "libbpf-ts";
    const once = () => {
      const object = BpfObject.open(${quoted(await fixtures.object("basics"))}).load();
      object.bss.get("runs");
      object.close();
    };
    once();
    const before = readdirSync("/proc/self/fd").length;
    for (let i = 0; i < 200; i++) once();
    console.log(readdirSync("/proc/self/fd").length - before);
  `);
  t.is(left, "0");
});

kernelTest("threads that load at the same time each get their own verifier log", async (t) => {
  // The module runs itself as its workers; the program to load comes as workerData.
  const script = join(fixtures.folder, "threads.mjs");
  writeFileSync(
    script,
    `
    import { isMainThread, Worker, workerData } from "node:worker_threads";
    import { BpfObject } from ${quoted(import.meta.resolve("libbpf-ts"))};
    if (isMainThread) {
      for (const name of ["unchecked_packet", "unchecked_lookup", "unchecked_packet"]) {
        new Worker(new URL(import.meta.url), { workerData: name, execArgv: [] }).on("exit", (code) => console.log(code));
      }
    } else {
      for (let i = 0; i < 100; i++) {
        const object = BpfObject.open(${quoted(await fixtures.object("rejected"))});
        object.program(workerData).autoload = true;
        try {
          object.load();
        } catch (error) {
          if (error.program !== workerData || !/processed/.test(error.log)) throw error;
        }
        object.close();
      }
    }
  `,
  );
  const output = runModule(`await import(${quoted(script)})`);
  t.is(output, "0\n0\n0");
});

kernelTest("without rights, load says which are needed", async (t) => {
  const output = runModule(`
    import { BpfObject, MissingRightsError } from "libbpf-ts";
    const object = BpfObject.open(${quoted(await fixtures.object("basics"))});
    process.setuid(65534);
    try { object.load(); } catch (error) { console.log(error instanceof MissingRightsError, error.message); }
  `);
  t.regex(output, /^true load BPF object basics: .*run as root, or with CAP_BPF/);
});

test("libbpf's words never reach the terminal", async (t) => {
  const output = runModule(
    `
    import { BpfObject, linkObjects } from "libbpf-ts";
    const path = ${quoted(await fixtures.object("basics"))};
    try { BpfObject.open(path).map("table").setValueSize(0); } catch {}
    try { linkObjects([path, path], "/dev/null/x"); } catch {}
    try { BpfObject.open(path, { btfPath: "/nowhere" }).load(); } catch {}
    console.log("quiet");
  `,
    {},
    ["sh", "-c", 'exec "$@" 2>&1', "sh"],
  );
  t.is(output, "quiet");
});

test("a libbpf that cannot be loaded is an error at first use, not at import", (t) => {
  const folder = mkdtempSync(join(tmpdir(), "no-libbpf-"));
  t.teardown(() => rmSync(folder, { recursive: true }));
  writeFileSync(join(folder, "libbpf.so.1"), "");
  const output = runModule(
    `
    import { MissingLibraryError, possibleCpus } from "libbpf-ts";
    try { possibleCpus(); } catch (error) { console.log(error instanceof MissingLibraryError, error.message); }
  `,
    { LD_LIBRARY_PATH: folder },
  );
  t.regex(output, /^true load libbpf: libbpf\.so\.1 .*install libbpf 1\.1/);
});
