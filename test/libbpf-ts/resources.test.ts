import test from "ava";
import { ClosedError, RingBuffer } from "libbpf-ts";
import { withNetns } from "../support/netns.js";
import { fixtureFolder, kernelTest, opened } from "./support/bpf-test.js";
import { runModule } from "./support/child.js";

const fixtures = fixtureFolder(test);
const CYCLES = 10_000;
const SETTLED = 2_000;

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
      let before;
      for (let i = 0; i < ${CYCLES}; i++) {
        once();
        if (i % 1000 === 0) await setImmediate();
        if (i === ${SETTLED}) before = await measure(); // the heap and the compiled code have their size by now
      }
      const after = await measure();
      console.log(JSON.stringify({ fds: after.fds - before.fds, bytes: after.rss - before.rss }));
    `,
        { NODE_OPTIONS: "" },
        ["nsenter", `--net=/run/netns/${ns.name}`],
        ["--expose-gc"],
      );
      const { fds, bytes } = JSON.parse(output);
      t.is(fds, 0);
      // A cycle that leaked the object's text or BTF would cost kilobytes.
      const each = bytes / (CYCLES - SETTLED);
      t.true(each < 512, `${each} bytes a cycle`);
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
