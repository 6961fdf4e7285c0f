import { type ChildProcess, spawn } from "node:child_process";
import test, { type ExecutionContext } from "ava";
import { result, watchVm } from "../../../src/selftest/vm/boot.js";
import { VmError } from "../../../src/selftest/vm/errors.js";
import { INIT_REACHED } from "../../../src/selftest/vm/guest-init.js";
import { file, writeNewc } from "../../../src/selftest/vm/newc.js";
import { endProcess } from "../../../src/selftest/vm/process.js";

const ARCHIVE = Buffer.concat(writeNewc([file("status", "0\n")])).toString("base64");

/** A process in QEMU's place: its console is standard output, its data channel descriptor 4. */
function fakeVm(t: ExecutionContext, script: string): ChildProcess {
  const child = spawn("bash", ["-c", script], {
    env: { ...process.env, ARCHIVE },
    stdio: ["ignore", "pipe", "pipe", "ignore", "pipe"],
  });
  t.teardown(() => endProcess(child));
  return child;
}

const isGone = (child: ChildProcess) => child.exitCode !== null || child.signalCode !== null;
const SEND_FILES = `printf '\\0' >&4; base64 -d <<<"$ARCHIVE" >&4`;

test("passes the command's output on and hands its files back", async (t) => {
  const child = fakeVm(t, `echo booting; printf 'ok 1 a\\n' >&4; ${SEND_FILES}`);
  let output = "";
  const { entries, console: said } = await watchVm(child, {
    onOutput: (chunk) => {
      output += chunk;
    },
  });
  t.is(output, "ok 1 a\n");
  t.is(said, "booting\n");
  t.deepEqual(
    entries.map(({ path, data }) => [path, `${data}`]),
    [["status", "0\n"]],
  );
});

test("passes output on while the VM still runs", async (t) => {
  const child = fakeVm(t, "echo ok 1 a >&4; exec sleep 60");
  const watched = watchVm(child, {
    onOutput: (chunk) => {
      t.is(`${chunk}`, "ok 1 a\n");
      child.kill("SIGKILL");
    },
  });
  await t.throwsAsync(watched, { instanceOf: VmError, message: /ended by SIGKILL before its command did/ });
});

test("a silent VM is a hang, told with its console's last lines, and ended", async (t) => {
  const child = fakeVm(t, `echo '${INIT_REACHED}'; seq 100; exec sleep 60`);
  const error = await t.throwsAsync(watchVm(child, { silenceMs: 300 }), { instanceOf: VmError });
  t.is(error.kind, "hang");
  t.regex(error.message, /said nothing for 0.3 s; the end of its console \(76 lines omitted\):\n {2}76\n/);
  t.true(error.message.endsWith("\n  100"));
  t.true(isGone(child));
});

test("a kernel that does not reach its init is told apart from a hang, as it is booted again", async (t) => {
  const hung = watchVm(fakeVm(t, "echo 'PCI: Fatal'; exec sleep 60"), { bootMs: 300 });
  const error = await t.throwsAsync(hung, { instanceOf: VmError });
  t.is(error.kind, "boot");
  t.regex(error.message, /did not reach its init within 0.3 s; .*\n {2}PCI: Fatal$/);
  const slow = fakeVm(t, `echo '${INIT_REACHED}'; sleep 3; ${SEND_FILES}`);
  t.is((await watchVm(slow, { bootMs: 2_000 })).entries.length, 1);
});

test("silence is not judged before the VM is up, nor its output before the command's where that is waited for", async (t) => {
  const quiet = fakeVm(t, `sleep 2.5; echo '${INIT_REACHED}'; ${SEND_FILES}`);
  t.is((await watchVm(quiet, { silenceMs: 2_000 })).entries.length, 1);
  const stuck = fakeVm(t, `echo '${INIT_REACHED}'; exec sleep 60`);
  const error = await t.throwsAsync(watchVm(stuck, { up: "output", bootMs: 500, silenceMs: 100 }), {
    instanceOf: VmError,
    message: /did not begin with its command within 0.5 s/,
  });
  t.is(error.kind, "boot");
});

test("a VM that talks for ever is ended too", async (t) => {
  const child = fakeVm(t, "while echo tick; do sleep 0.05; done");
  const error = await t.throwsAsync(watchVm(child, { limitMs: 400 }), { instanceOf: VmError });
  t.is(error.kind, "limit");
  t.regex(error.message, /did not end within 0.4 s/);
  t.true(isGone(child));
});

const crashes: { name: string; script: string; message: RegExp }[] = [
  {
    name: "no files",
    script: "echo Kernel panic; exit 1",
    message: /with status 1 .*no files came.*\n {2}Kernel panic/,
  },
  {
    name: "half of its files",
    script: `printf '\\0' >&4; base64 -d <<<"$ARCHIVE" | head -c 200 >&4`,
    message: /no trailer before/,
  },
  { name: "nothing at all", script: "exit 0", message: /its console is empty/ },
];
for (const { name, script, message } of crashes) {
  test(`a VM that ends with ${name} has crashed`, async (t) => {
    const error = await t.throwsAsync(watchVm(fakeVm(t, script), {}), { instanceOf: VmError, message });
    t.is(error.kind, "crash");
  });
}

test("files that do not tell the command's exit status are a crash, not a success", (t) => {
  const ended = (...entries: [string, string][]) => ({
    entries: entries.map(([name, text]) => file(name, text)),
    console: "Out of memory",
  });
  const { status, kernelLog, files } = result(ended(["status", "3\n"], ["kernel.log", "up"], ["a", "b"]));
  t.deepEqual([status, kernelLog, [...files.keys()]], [3, "up", ["a"]]);
  for (const broken of [ended(), ended(["status", ""]), ended(["status", "Killed\n"])]) {
    const error = t.throws(() => result(broken), {
      instanceOf: VmError,
      message: /exit status.*\n {2}Out of/,
    });
    t.is(error.kind, "crash");
  }
});

test("a VM that has sent its files but does not power off is ended, and is no error", async (t) => {
  const child = fakeVm(t, `${SEND_FILES}; exec sleep 60`);
  const { entries } = await watchVm(child, { limitMs: 30_000 });
  t.is(entries.length, 1);
  t.true(isGone(child));
});

test("a QEMU that is not installed is no crash", async (t) => {
  const error = await t.throwsAsync(watchVm(fakeVm(t, "exit 127"), {}), { instanceOf: VmError });
  t.is(error.kind, "unavailable");
  t.regex(error.message, /install qemu-system-x86/);
});
