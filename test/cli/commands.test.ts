import { existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test, { type ExecutionContext } from "ava";
import { packageRoot } from "../../src/sys/paths.js";
import { CLI, execute, xfrmSteer } from "../support/cli.js";
import { serialRootTest } from "../support/root-test.js";

const HUB = "examples/hub-and-sites/steer.yaml";
const VOICE = "udp 10.0.0.1:1234 > 192.168.1.200:5060";

function file(t: ExecutionContext, text: string): string {
  const folder = mkdtempSync(join(tmpdir(), "xfrm-steer-test-"));
  t.teardown(() => rmSync(folder, { recursive: true }));
  const path = join(folder, "steer.yaml");
  writeFileSync(path, text);
  return path;
}

for (const example of readdirSync(join(packageRoot, "examples")).filter((name) =>
  existsSync(join(packageRoot, "examples", name, "steer.yaml")),
))
  test(`check finds nothing wrong with examples/${example}`, async (t) => {
    const { code, stdout } = await xfrmSteer("check", `examples/${example}/steer.yaml`);
    t.is(code, 0);
    const said = stdout.split("\n").filter((line) => !line.includes(": note: "));
    t.regex(said.join("\n"), /^examples\/.*steer\.yaml: ok, \d+ connections, \d+ rules(, \d+ flows)?\n$/);
  });

test("a reader that leaves early is no error", async (t) => {
  const { stdout, stderr } = await execute("sh", [
    "-c",
    `"${process.execPath}" "${CLI}" probe --help | exec true`,
  ]);
  t.deepEqual([stdout, stderr], ["", ""]);
});

test("check prints file:line:column, what is wrong and what would be right, and ends with 2", async (t) => {
  const path = file(t, "version: 1\nconnections:\n  a: {if_id: 1}\n  b: {if_id: 1}\nrules: [{to: c}]\n");
  const { code, stdout } = await xfrmSteer("check", path);
  t.is(code, 2);
  t.regex(stdout, new RegExp(`^${path}:4:14: error: .*; .*$`, "m"));
  t.regex(stdout, new RegExp(`^${path}:5:14: error: .*; .*$`, "m"));
});

test("check --json gives the diagnostics as data, each with its position", async (t) => {
  const path = file(t, "version: 1\nconnections: {a: {if_id: 0}}\n");
  const { code, stdout } = await xfrmSteer("check", path, "--json");
  t.is(code, 2);
  const [{ ok, diagnostics }] = JSON.parse(stdout);
  t.false(ok);
  t.like(diagnostics[0], { file: path, line: 2, severity: "error" });
});

test("check opens keys only with --keys", async (t) => {
  t.is((await xfrmSteer("check", HUB)).code, 0);
  const { code, stdout } = await xfrmSteer("check", HUB, "--keys");
  t.is(code, 2);
  t.is(stdout.match(/key file .* does not exist/g)?.length, 4);
});

test("explain names the rule and the connection, and why each rule before does not match", async (t) => {
  const { code, stdout } = await xfrmSteer("explain", HUB, VOICE);
  t.is(code, 0);
  t.regex(stdout, /rule bulk-a .* does not match: wants proto tcp, the packet has udp/);
  t.regex(stdout, /goes to connection site-b \(if_id 102\): rule voice-b decides/);
});

test("explain --json is one document", async (t) => {
  const { stdout } = await xfrmSteer("explain", HUB, VOICE, "--json");
  t.like(JSON.parse(stdout), { rule: "voice-b", connection: { name: "site-b", ifId: 102 } });
});

test("a packet that cannot be read ends with 2 and says how to write one", async (t) => {
  const { code, stderr } = await xfrmSteer("explain", HUB, "udp nonsense > 10.0.0.1:1");
  t.is(code, 2);
  t.regex(stderr, /nonsense.*write/);
});

test("probe names the backend that serves, and why each better one cannot", async (t) => {
  const { stdout } = await xfrmSteer("probe", "--json");
  const { backend, candidates } = JSON.parse(stdout);
  t.is(candidates.at(-1).name, "userspace");
  t.true(candidates.every(({ reason }: { reason: string }) => reason.length > 10));
  t.is(backend, candidates.find(({ available }: { available: boolean }) => available)?.name ?? null);
});

serialRootTest("probe without rights knows of no backend, says so and ends with 4", async (t) => {
  const { code, stdout } = await execute("unshare", ["--user", process.execPath, CLI, "probe"]);
  t.is(code, 4);
  t.is(
    stdout,
    [
      ...["kernel-bpf", "kernel-lwt", "userspace "].map(
        (name) => ` ?  ${name}  not known without root; run it with sudo\n`,
      ),
      "backend: not known\n",
    ].join(""),
  );
});

for (const command of ["probe", "check", "explain", "apply", "load", "status", "unload", "run", "demo"])
  test(`${command} --help shows an example`, async (t) => {
    const { code, stdout } = await xfrmSteer(command, "--help");
    t.is(code, 0);
    t.regex(stdout, /Example:\n {2}(sudo )?xfrm-steer /);
    t.regex(stdout, /--json/);
  });

for (const command of [
  ...["sa", "sa list", "sa add", "flow", "flow add", "policy", "policy list", "offload", "offload explain"],
  ...["vm", "vm shell", "bench", "bench classify"],
])
  test(`${command} --help shows an example, and --netns`, async (t) => {
    const { code, stdout } = await xfrmSteer(...command.split(" "), "--help");
    t.is(code, 0);
    t.regex(stdout, /Example:\n {2}.*xfrm-steer /);
    t.regex(stdout, /--netns <name>/);
  });

for (const spi of ["", "1e4", "0xff", "0x100000000", "-5", "0x2001 "])
  test(`sa delete --spi "${spi}" ends with 2 and says what an SPI is`, async (t) => {
    const { code, stderr } = await xfrmSteer("sa", "delete", "ipsec0", "a", `--spi=${spi}`);
    t.is(code, 2);
    t.regex(stderr, /--spi.* is invalid\. write a number from 0x100 to 0xffffffff/);
  });

for (const [what, args] of [
  ["an unknown option of a nested command", ["flow", "list", "ipsec0", "--nope"]],
  ["an unknown command", ["aply"]],
  ["an unknown option", ["check", "--nope", HUB]],
  ["a missing argument", ["explain", HUB]],
] as const)
  test(`${what} ends with 2`, async (t) => {
    const { code, stderr } = await xfrmSteer(...args);
    t.is(code, 2);
    t.notRegex(stderr, /\n\s+at /);
  });

test("a policy that is not there ends with 2 and says so", async (t) => {
  const { code, stderr } = await xfrmSteer("apply", "/nowhere/steer.yaml");
  t.is(code, 2);
  t.regex(stderr, /\/nowhere\/steer\.yaml:1:1: error: the file does not exist/);
});

// In a user namespace without mappings the process is nobody, but may still read the project's files.
for (const [command, ...args] of [
  ["apply", HUB],
  ["run", HUB],
  ["load", "nope.bpf.c"],
  ["status"],
  ["unload"],
  ["demo"],
] as const)
  serialRootTest(`${command} without rights is one sentence and ends with 4`, async (t) => {
    const { code, stderr, stdout } = await execute("unshare", [
      "--user",
      process.execPath,
      CLI,
      command,
      ...args,
    ]);
    t.is(code, 4);
    t.is(stdout, "");
    t.regex(stderr, /^xfrm-steer: .* needs root; run it with sudo\n$/);
  });

serialRootTest(
  "status of an interface that is not set up ends with 1 and says how to set it up",
  async (t) => {
    const { code, stderr } = await xfrmSteer("status", "nothere0");
    t.is(code, 1);
    t.regex(stderr, /nothere0 is not set up here; `xfrm-steer apply` sets it up/);
  },
);

serialRootTest("a network namespace that does not exist is named", async (t) => {
  const { code, stderr } = await xfrmSteer("--netns", "xst-no-such-netns", "status");
  t.is(code, 1);
  t.regex(stderr, /xst-no-such-netns/);
});
