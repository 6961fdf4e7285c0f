import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test from "ava";
import type { Explained } from "../../src/simulator/explain.js";
import type { SimulationReport } from "../../src/simulator/simulation/simulation.js";
import { packageRoot } from "../../src/sys/paths.js";
import { xfrmSteer } from "../support/cli.js";
import { rootTest } from "../support/root-test.js";

const EXAMPLE = "examples/offload/steer.yaml";
const ENOSPC = /No space for SA in (Tx|Rx) table/;

rootTest(
  "ixgbe has room for 1,024 SAs each way: what is sent with the next arrives by software",
  async (t) => {
    t.timeout(300_000);
    const { stdout, code } = await xfrmSteer("simulate", EXAMPLE, "--profile", "ixgbe", "--json");
    const { pass, sas, sent, received, plaintext_on_wire } = JSON.parse(stdout) as SimulationReport;
    t.deepEqual([code, pass, plaintext_on_wire, received], [0, true, 0, sent]);
    const others = sas.filter(({ offloaded }) => !offloaded);
    t.deepEqual(
      others.map(({ connection, direction }) => [connection, direction]),
      [
        ["site-1025", "out"],
        ["site-1025", "in"],
      ],
    );
    for (const { reason, hardware_packets, software_packets } of others) {
      t.regex(reason, ENOSPC);
      t.deepEqual([hardware_packets, software_packets], [0, sent / 1025]);
    }
  },
);

test("offload explain says the same without traffic", async (t) => {
  const { stdout, code } = await xfrmSteer("offload", "explain", EXAMPLE, "--profile", "ixgbe", "--json");
  const sas = JSON.parse(stdout) as Explained[];
  t.is(code, 0);
  t.is(sas.length, 2050);
  const others = sas.filter(({ offloaded }) => !offloaded);
  t.deepEqual([...new Set(others.map(({ connection }) => connection))], ["site-1025"]);
  for (const { reason } of others) t.regex(reason, ENOSPC);
});

test("the profile that the example's README shows is one", async (t) => {
  const text = readFileSync(join(packageRoot, "examples/offload/README.md"), "utf8");
  const [, profile = ""] = /```yaml\n([^`]*)```/.exec(text) ?? [];
  const folder = mkdtempSync(join(tmpdir(), "profile-"));
  t.teardown(() => rmSync(folder, { recursive: true }));
  const file = join(folder, "mine.yaml");
  writeFileSync(file, profile);
  const { stdout, code } = await xfrmSteer("offload", "explain", EXAMPLE, "--profile", file, "--json");
  t.is(code, 0);
  t.is((JSON.parse(stdout) as Explained[]).filter(({ offloaded }) => offloaded).length, 1024);
});

for (const [what, args, message] of [
  ["a profile that there is not", ["--profile", "e1000"], /no profile "e1000"; take .*ixgbe/],
  ["a fault that there is not", ["--fault", "gremlins"], /Allowed choices are .*table-full/],
] as const)
  test(`simulate names what there is for ${what}`, async (t) => {
    const { stderr, code } = await xfrmSteer("simulate", EXAMPLE, ...args);
    t.is(code, 2);
    t.regex(stderr, message);
  });

rootTest("a bond's fault wants a bond", async (t) => {
  const { stderr, code } = await xfrmSteer(
    "simulate",
    EXAMPLE,
    "--profile",
    "nfp",
    "--fault",
    "bond-failover",
  );
  t.is(code, 2);
  t.regex(stderr, /take --profile bonding/);
});
