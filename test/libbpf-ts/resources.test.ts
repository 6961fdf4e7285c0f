import test from "ava";
import { ClosedError, RingBuffer } from "libbpf-ts";
import { withNetns } from "../support/netns.js";
import { fixtureFolder, kernelTest, opened } from "./support/bpf-test.js";
import { runModule } from "./support/child.js";

const fixtures = fixtureFolder(test);
const CYCLES = 10_000;
const WINDOW = 2_000;

kernelTest(
  "10,000 times open, load, attach and close leave no descriptor and no memory behind",
  async (t) => {
    const path = JSON.stringify(await fixtures.object("small"));
    await withNetns((ns) => {
      // A process of its own, with a collector that can be told to run, shows what is left and not what waits for it.
      const output = runModule(
        `
      import { readdirSync } from "node:fs";
      import { setImmediate } from "node:timers/promises";
      import { attachNetns, BpfObject } from "libbpf-ts";
      const once = () => {
        const object = BpfObject.open(${path});
        const link = attachNetns({ program: object.load().program("look") });
        link.close();
        object.close();
      };
      const measure = async () => {
        await setImmediate(); // finalizers run between turns
        globalThis.gc();
        return { fds: readdirSync("/proc/self/fd").length, rss: process.memoryUsage().rss };
      };
      const measured = [];
      for (let i = 1; i <= ${CYCLES}; i++) {
        once();
        if (i % 1000 === 0) await setImmediate();
        if (i % ${WINDOW} === 0) measured.push(await measure());
      }
      console.log(JSON.stringify(measured));
    `,
        { NODE_OPTIONS: "" },
        ["nsenter", `--net=/run/netns/${ns.name}`],
        ["--expose-gc"],
      );
      const measured = JSON.parse(output) as { fds: number; rss: number }[];
      t.is(measured.at(-1)?.fds, measured[0]?.fds);
      // A leak shows in every window; the heap's own growth, which comes in steps, does not. A cycle that leaked the
      // object's text or BTF would cost kilobytes.
      const each = measured.slice(1).map(({ rss }, i) => (rss - (measured[i]?.rss ?? 0)) / WINDOW);
      t.true(Math.min(...each) < 512, `${each.map(Math.round)} bytes a cycle`);
    });
  },
);

kernelTest("what is closed answers every use with a typed error", async (t) => {
  const object = opened(t, await fixtures.object("typed"));
  const [map, program] = [object.map("flows"), object.program("emit")];
  object.load();
  const ring = new RingBuffer(object.map("events"));
  object.close();
  object.close();
  for (const use of [
    () => map.lookup(new Uint8Array(12)),
    () => map.fd,
    () => map.shape && map.info(),
    () => program.testRun({}),
    () => program.info(),
    () => program.autoload,
    () => object.btf,
    () => object.load(),
    () => object.bss.get("seen"),
    () => object.rodata.set("limit", 1),
  ]) {
    t.throws(use, { instanceOf: ClosedError }, String(use));
  }
  t.is(
    ring.drain(() => undefined),
    0,
    "a ring buffer has its own hold of the memory",
  );
  ring.close();
  ring.close();
});
