import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { createInterface } from "node:readline";
import type { ExecutionContext } from "ava";
import type { DemoResult } from "../../src/demo/demo.js";
import { inNetns } from "../../src/sys/netns.js";
import { packageRoot } from "../../src/sys/paths.js";
import { RUNTIME_ROOT, runtimeDir } from "../../src/sys/runtime-dir.js";
import { CLI, execute, xfrmSteer } from "../support/cli.js";
import { serialRootTest } from "../support/root-test.js";

/** What a demo of this process may have left: namespaces, folders, processes in its namespaces. */
async function leftBy(pid: number | undefined): Promise<string[]> {
  const mine = (name: string) => name.startsWith(`xfrm-steer-demo-${pid}-`);
  const namespaces = (await execute("ip", ["netns", "list"])).stdout
    .split("\n")
    .map((line) => line.split(" ")[0] ?? "");
  const processes = readdirSync("/proc").filter((entry) => {
    if (!/^\d+$/.test(entry) || !existsSync(`/proc/${entry}/cmdline`)) return false;
    try {
      return readFileSync(`/proc/${entry}/cmdline`, "latin1").includes(`xfrm-steer-demo-${pid}-`);
    } catch {
      return false; // it has just ended
    }
  });
  return [
    ...namespaces.filter(mine),
    ...[tmpdir(), RUNTIME_ROOT].flatMap((path) => readdirSync(path).filter(mine)),
    ...processes,
  ];
}

/** Starts a demo and resolves when it has reached a step. */
async function demoAt(t: ExecutionContext, step: RegExp) {
  const demo = spawn(process.execPath, [CLI, "demo", "--json"], {
    cwd: packageRoot,
    stdio: ["ignore", "ignore", "pipe"],
  });
  t.teardown(() => demo.kill("SIGTERM"));
  const ended = once(demo, "close");
  for await (const line of createInterface({ input: demo.stderr }))
    if (step.test(line)) return { demo, ended };
  throw new Error(`the demo ended before ${step}`);
}

serialRootTest(
  "the demo passes: every flow arrives where its rule sends it, under its SPI, none in the clear",
  async (t) => {
    const { code, stdout, stderr } = await xfrmSteer("demo", "--json");
    const { pass, backend, flows, problems } = JSON.parse(stdout) as DemoResult;
    t.deepEqual(problems, [], stderr);
    t.is(code, 0);
    t.true(pass);
    t.is(backend, "userspace");
    for (const flow of flows) {
      t.is(flow.received, flow.rule === null ? 0 : flow.sent, flow.name);
      t.true(flow.sent > 0, flow.name);
      t.is(flow.plaintext_on_wire, 0, flow.name);
      t.is(flow.on_wire > 0, flow.rule !== null, flow.name);
    }
    t.true(flows.filter(({ unit }) => unit === "bytes").every(({ sent }) => sent >= 100_000_000));
    t.deepEqual(new Set(flows.map(({ if_id }) => if_id)), new Set([101, 102, null]));
  },
);

for (const [step, signal] of [
  [/building/, "SIGINT"],
  [/starting xfrm-steer/, "SIGTERM"],
  [/ping and UDP/, "SIGINT"],
  [/bulk-a/, "SIGHUP"],
  [/tshark/, "SIGINT"],
] as const)
  serialRootTest(`a demo that gets ${signal} while ${step.source} leaves nothing behind`, async (t) => {
    const { demo, ended } = await demoAt(t, step);
    demo.kill(signal);
    const [code] = await ended;
    t.not(code, 0);
    t.deepEqual(await leftBy(demo.pid), []);
  });

serialRootTest("after kill -9 of the demo the next one clears what was left", async (t) => {
  const { demo, ended } = await demoAt(t, /bulk-a/);
  const left = (await leftBy(demo.pid)).filter((name) => existsSync(`/run/netns/${name}`));
  const sockets = left.map((name) => inNetns(name, runtimeDir));
  // Its children too: the end of its pipe would let the services take their sockets away. Stopped, it sees none of it.
  demo.kill("SIGSTOP");
  for (const name of left)
    for (const pid of (await execute("ip", ["netns", "pids", name])).stdout.split("\n").filter(Boolean))
      process.kill(Number(pid), "SIGKILL");
  demo.kill("SIGKILL");
  await ended;
  t.is(sockets.filter(existsSync).length, 3);
  // Far enough for the clearing; a whole demo runs in the test above.
  const next = await demoAt(t, /starting xfrm-steer/);
  t.deepEqual(await leftBy(demo.pid), []);
  next.demo.kill("SIGINT");
  await next.ended;
  t.deepEqual(await leftBy(next.demo.pid), []);
  t.deepEqual(sockets.filter(existsSync), []);
});
