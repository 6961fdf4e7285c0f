import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { constants } from "node:os";
import { setTimeout as delay } from "node:timers/promises";
import test from "ava";
import { benchEsp } from "../../src/bench/esp.js";
import { startSubject } from "../../src/bench/esp-subjects.js";
import { cliPath } from "../../src/sys/paths.js";
import { whyNoNamespaces } from "../sys/namespace.js";

/** Those that the process has made: other tests and benchmarks may run at the same time. */
const namespacesOf = (pid: number | undefined): string[] =>
  execFileSync("ip", ["netns", "list"], { encoding: "utf8" })
    .split("\n")
    .filter((line) => line.startsWith(`xs-bench-${pid}-`));

/** Processes in these namespaces; a name of `ip netns list` may have its id behind it. */
const processesIn = (namespaces: readonly string[]): string[] =>
  namespaces.flatMap((line) =>
    execFileSync("ip", ["netns", "pids", line.split(" ")[0] as string], { encoding: "utf8" })
      .split("\n")
      .filter(Boolean),
  );

const reason = whyNoNamespaces();
const rooted = reason === null ? test.serial : test.serial.skip;
const suffix = reason === null ? "" : ` (${reason})`;

rooted(`every subject is measured in turn, and its namespaces go with it${suffix}`, async (t) => {
  const told: string[] = [];
  const result = await benchEsp({
    cases: ["tcp1", "rtt"],
    subjects: ["xfrm-steer/openssl", "veth"],
    runs: 2,
    seconds: 1,
    progress: (what) => told.push(what),
  });
  t.is(result.bench, "esp");
  t.deepEqual(
    result.cases.map(({ case: name, subject, unit, runs }) => [name, subject, unit, runs]),
    [
      ["tcp1", "xfrm-steer/openssl", "Gbit/s", 2],
      ["tcp1", "veth", "Gbit/s", 2],
      ["rtt", "xfrm-steer/openssl", "us", 2],
      ["rtt", "veth", "us", 2],
    ],
  );
  for (const { median, min, max } of result.cases) t.true(0 < min && min <= median && median <= max);
  t.deepEqual(told.slice(0, 6), [
    "tcp1 warm-up xfrm-steer/openssl",
    "tcp1 warm-up veth",
    "tcp1 1/2 xfrm-steer/openssl",
    "tcp1 1/2 veth",
    "tcp1 2/2 xfrm-steer/openssl",
    "tcp1 2/2 veth",
  ]);
  t.deepEqual(namespacesOf(process.pid), []);
});

rooted(`an interrupted bench leaves no namespace and no process behind${suffix}`, async (t) => {
  const bench = spawn(process.execPath, [cliPath, "bench", "esp", "--case", "tcp1", "--subject", "veth"], {
    stdio: "ignore",
  });
  const ended = once(bench, "exit");
  try {
    const processes = () => processesIn(namespacesOf(bench.pid));
    while (processes().length === 0 && bench.exitCode === null) await delay(20);
    t.is(bench.exitCode, null);
    const running = processes();
    bench.kill("SIGTERM");
    t.deepEqual(await ended, [128 + constants.signals.SIGTERM, null]);
    t.deepEqual(namespacesOf(bench.pid), []);
    // Those that have ended are init's now, which collects them in its own time.
    const left = () => running.filter((pid) => existsSync(`/proc/${pid}`));
    for (let i = 0; i < 100 && left().length > 0; i++) await delay(20);
    t.deepEqual(left(), []);
  } finally {
    bench.kill("SIGKILL");
    await ended;
  }
});

test("a part of a second, which iperf3 would take for no end, is refused", async (t) => {
  const options = { cases: [], subjects: [], runs: 1, seconds: 0.5 };
  await t.throwsAsync(benchEsp(options), { instanceOf: RangeError, message: /0\.5 seconds/ });
});

// CI installs the peers: there these run, and fail where one is missing.
for (const [subject, file] of [
  ["strongswan-libipsec", "/usr/lib/ipsec/plugins/libstrongswan-kernel-libipsec.so"],
  ["wireguard-go", "/usr/bin/wireguard-go"],
] as const) {
  const missing = reason ?? (process.env.CI || existsSync(file) ? null : "setup.js --for-bench installs it");
  const peer = missing === null ? test.serial : test.serial.skip;
  peer(
    `${subject} carries packets, and ends with all it made${missing === null ? "" : ` (${missing})`}`,
    async (t) => {
      const { left, address, stop } = await startSubject(subject);
      try {
        const ping = ["netns", "exec", left, "ping", "-c", "1", "-W", "10", address];
        t.regex(execFileSync("ip", ping, { encoding: "utf8" }), / 1 received/);
        t.regex(
          execFileSync("ip", ["-n", left, "route", "get", address], { encoding: "utf8" }),
          /dev (ipsec0|wg0)/,
        );
      } finally {
        await stop();
      }
      t.deepEqual(namespacesOf(process.pid), []);
    },
  );
}
