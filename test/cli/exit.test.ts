import { spawnSync } from "node:child_process";
import { openSync, readdirSync, statSync } from "node:fs";
import path from "node:path";
import test, { type ExecutionContext } from "ava";
import { ExitCode, reportError } from "../../src/cli/exit.js";
import { describeReadError } from "../../src/config/read-error.js";
import { SystemError } from "../../src/sys/libc.js";
import { folderWith } from "../support/folder.js";

/** What reportError prints; the tests of this file run one after the other, as console.error is one. */
function printed(t: ExecutionContext, error: unknown): { readonly code: number; readonly lines: string[] } {
  const lines: string[] = [];
  const original = console.error;
  console.error = (line: string) => lines.push(line);
  try {
    return { code: reportError(error), lines };
  } finally {
    console.error = original;
    t.true(lines.every((line) => !/internal error|\n/.test(line)));
  }
}

/** As node:fs makes them. */
const ofNode = (code: string, syscall: string, more: object) =>
  Object.assign(new Error(`${code}: whatever Node says, ${syscall}`), { code, syscall, errno: -1, ...more });

for (const [title, error, expected, exit] of [
  [
    "a full disk",
    ofNode("ENOSPC", "write", { path: "/run/x/state.json.new" }),
    "writing /run/x/state.json.new: no space is left on the device (ENOSPC); make room there (df shows how much is used) and do it again",
    ExitCode.failed,
  ],
  [
    "too many open files",
    ofNode("EMFILE", "open", { path: "/etc/x.yaml" }),
    "opening /etc/x.yaml: this process has as many files open as it may (EMFILE); raise its limit (ulimit -n, or LimitNOFILE= of its unit) and do it again",
    ExitCode.failed,
  ],
  [
    "a read-only /run",
    ofNode("EROFS", "mkdir", { path: "/run/x" }),
    "making the folder /run/x: the file system is read-only (EROFS); mount it for writing, or name a place on another",
    ExitCode.failed,
  ],
  [
    "a device that was deleted",
    new SystemError("asking for the device ipsec0", 19),
    "asking for the device ipsec0: the device is not there any more (ENODEV); make it again, and then `xfrm-steer apply`",
    ExitCode.failed,
  ],
  [
    "a system call of ours with advice of its own",
    new SystemError("opening /dev/net/tun", 2, "load the module tun"),
    "opening /dev/net/tun: ENOENT; load the module tun",
    ExitCode.failed,
  ],
  [
    "a right that is lacking",
    ofNode("EACCES", "open", { path: "/etc/shadow" }),
    "opening /etc/shadow: it is not allowed (EACCES); run it as root, or give yourself the permission",
    ExitCode.lacking,
  ],
  [
    "a program that is not there",
    ofNode("ENOENT", "spawn tshark", { path: "tshark" }),
    "doing spawn tshark: it is not there (ENOENT); check the path, or make it",
    ExitCode.failed,
  ],
  [
    "an errno that nobody has thought of",
    ofNode("EUCLEAN", "rename", { path: "/a", dest: "/b" }),
    "renaming /a to /b: the system says EUCLEAN",
    ExitCode.failed,
  ],
] as const)
  test.serial(`${title} is one sentence without a stack`, (t) => {
    t.deepEqual(printed(t, error), { code: exit, lines: [`xfrm-steer: ${expected}`] });
  });

test.serial("an error of node:fs as it comes", (t) => {
  const error = t.throws(() => readdirSync("/nowhere/at/all"));
  t.regex(
    printed(t, error).lines[0] ?? "",
    /^xfrm-steer: listing \/nowhere\/at\/all: it is not there \(ENOENT\)/,
  );
});

test("a file of the policy that cannot be read for want of descriptors", (t) => {
  t.deepEqual(describeReadError(ofNode("EMFILE", "open", {}), "sites.yaml"), [
    "sites.yaml cannot be read: this process has as many files open as it may (EMFILE)",
    "raise its limit (ulimit -n, or LimitNOFILE= of its unit) and do it again",
  ]);
});

const FULL =
  "no space is left on the device (ENOSPC); make room there (df shows how much is used) and do it again\n";

test("output to a full disk", (t) => {
  const { status, stderr } = spawnSync(
    "node",
    ["bin/xfrm-steer.js", "check", "examples/minimal/steer.yaml"],
    {
      encoding: "utf8",
      stdio: ["ignore", openSync("/dev/full", "w"), "pipe"],
    },
  );
  t.deepEqual([status, stderr], [1, `xfrm-steer: writing: ${FULL}`]);
});

test("a bundle takes the place of no device or FIFO", (t) => {
  const folder = folderWith(t, {});
  // Never a path of the machine's own: this is what would be overwritten.
  const fifo = path.join(folder, "fifo");
  t.is(spawnSync("mkfifo", [fifo]).status, 0);
  const { status, stderr } = spawnSync(
    "node",
    ["bin/xfrm-steer.js", "compile", "examples/minimal/steer.yaml", "-o", fifo],
    { encoding: "utf8" },
  );
  t.true(statSync(fifo).isFIFO());
  t.deepEqual(
    [status, stderr],
    [2, `xfrm-steer: ${fifo} is no regular file, and a bundle would take its place; name a file\n`],
  );
});
