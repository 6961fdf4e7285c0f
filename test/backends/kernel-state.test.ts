import { execFile } from "node:child_process";
import { mkdirSync, mkdtempSync, rmdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import test from "ava";
import { noting } from "../../src/backends/kernel/resolved-devices.js";
import { keptInterfaces, StateDir } from "../../src/backends/kernel/state-dir.js";
import { restoreCounters, saveCounters } from "../../src/backends/kernel-bpf/state.js";
import { LockError, withLock } from "../../src/sys/lock.js";
import { namespaceFolder, tidyRuntimeDir } from "../../src/sys/runtime-dir.js";
import { undoable } from "../../src/sys/undo.js";
import { withNetns } from "../support/netns.js";

const run = promisify(execFile);
const root = process.geteuid?.() === 0;

async function inFolder(body: (folder: string) => Promise<void>): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), "xfrm-steer-lock-"));
  try {
    await body(folder);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

test("two holders of a lock run one after the other", async (t) => {
  await inFolder(async (folder) => {
    const order: string[] = [];
    const holder = (name: string) =>
      withLock(folder, async () => {
        order.push(`${name} in`);
        await new Promise((resolve) => setImmediate(resolve));
        order.push(`${name} out`);
      });
    await Promise.all([holder("a"), holder("b")]);
    t.is(order[0]?.slice(0, 1), order[1]?.slice(0, 1));
    t.is(order.length, 4);
  });
});

test("a lock is free again after its holder failed", async (t) => {
  await inFolder(async (folder) => {
    await t.throwsAsync(
      withLock(folder, () => {
        throw new Error("in here");
      }),
      { message: "in here" },
    );
    t.is(await withLock(folder, () => 7), 7);
  });
});

test("a folder that another holder removes is made again", async (t) => {
  await inFolder(async (folder) => {
    const path = join(folder, "locked");
    const module = new URL("../../src/sys/lock.js", import.meta.url).href;
    const script = `
      import { rmdirSync } from "node:fs";
      import { withLock } from ${JSON.stringify(module)};
      for (let i = 0; i < 2000; i++) await withLock(${JSON.stringify(path)}, () => rmdirSync(${JSON.stringify(path)}));
    `;
    const holder = () => run(process.execPath, ["--input-type=module", "-e", script]);
    await t.notThrowsAsync(Promise.all([holder(), holder()]));
  });
});

test("who waits too long is told so", async (t) => {
  await inFolder(async (folder) => {
    await withLock(folder, async () => {
      await t.throwsAsync(
        withLock(folder, () => {}, 50),
        { instanceOf: LockError },
      );
    });
  });
});

test("a folder that its last holder removed is made anew, and the lock holds there too", async (t) => {
  await inFolder(async (parent) => {
    const folder = join(parent, "net-1");
    mkdirSync(folder);
    let second: Promise<string> | undefined;
    await withLock(folder, async () => {
      second = withLock(folder, () => "second");
      rmdirSync(folder);
    });
    t.is(await second, "second");
  });
});

test("undo runs last first, past steps that fail, and the error stays the first one", (t) => {
  const undone: string[] = [];
  const error = t.throws(() =>
    undoable((onFailure) => {
      onFailure(() => undone.push("one"));
      onFailure(() => {
        throw new Error("undo failed");
      });
      onFailure(() => undone.push("three"));
      throw new Error("step failed");
    }),
  );
  t.is(error?.message, "step failed");
  t.deepEqual(undone, ["three", "one"]);
});

test("devices are asked for once, and noted", (t) => {
  let asked = 0;
  const { devices, resolved } = noting({ ifindexOf: () => ++asked, ifindexesOfGroup: () => [++asked, 9] });
  t.deepEqual(
    [devices.ifindexOf("constructor"), devices.ifindexOf("constructor"), devices.ifindexOf("b")],
    [1, 1, 2],
  );
  t.deepEqual(
    [devices.ifindexesOfGroup("lan"), devices.ifindexesOfGroup("lan")],
    [
      [3, 9],
      [3, 9],
    ],
  );
  t.deepEqual(resolved(), {
    devices: [
      ["constructor", 1],
      ["b", 2],
    ],
    groups: [["lan", [3, 9]]],
  });
});

test("counters survive their way through JSON", (t) => {
  const traffic = { packets: 3, bytes: 300 };
  const counters = {
    ...{ rules: new Map([["r", traffic]]), sent: new Map([["a", traffic]]), received: new Map() },
    ...{
      badSource: new Map([["__proto__", traffic]]),
      default: traffic,
      malformed: traffic,
      unknownIfId: traffic,
      held: traffic,
    },
  };
  t.deepEqual(restoreCounters(JSON.parse(JSON.stringify(saveCounters(counters)))), counters);
});

(root ? test : test.skip)(
  "state is kept by network namespace, interface and backend; needs root",
  async (t) => {
    await withNetns((here) =>
      withNetns((other) => {
        here.run(() => {
          new StateDir<string>("ipsec.0", "kernel-bpf").write("bpf");
          new StateDir<string>("ipsec1", "kernel-lwt").write("lwt");
          t.deepEqual(keptInterfaces("kernel-bpf"), ["ipsec.0"]);
          t.is(new StateDir<string>("ipsec.0", "kernel-bpf").read(), "bpf");
          t.is(new StateDir<string>("ipsec.0", "kernel-lwt").read(), null);
        });
        other.run(() => t.deepEqual(keptInterfaces("kernel-bpf"), []));
        here.run(() => {
          new StateDir<string>("ipsec.0", "kernel-bpf").remove();
          new StateDir<string>("ipsec1", "kernel-lwt").remove();
          tidyRuntimeDir();
        });
      }),
    );
  },
);

(root ? test : test.skip)("a namespace's folder is no other's after it (needs root)", async (t) => {
  const folder = () => withNetns((ns) => ns.run(namespaceFolder));
  const folders = [await folder(), await folder(), await folder()];
  t.is(new Set(folders).size, 3, `${folders}`);
  await withNetns((ns) => t.is(ns.run(namespaceFolder), ns.run(namespaceFolder)));
});
