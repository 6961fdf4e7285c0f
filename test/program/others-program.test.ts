/** Root loads no steering program that another user could have written. */
import { chmodSync, chownSync, copyFileSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import type { ExecutionContext } from "ava";
import { parsePolicy } from "../../src/config/index.js";
import { withBuiltProgram } from "../../src/program/build.js";
import { packageRoot } from "../../src/sys/paths.js";
import { xfrmSteer } from "../support/cli.js";
import { folderWith } from "../support/folder.js";
import { serialRootTest } from "../support/root-test.js";

const ANOTHER = 65534;
const TEXT = "version: 1\nconnections: {a: {if_id: 1}, b: {if_id: 2}}\nprogram: {file: spread.bpf.c}\n";

function folderWithProgram(t: ExecutionContext): string {
  const folder = folderWith(t, { "steer.yaml": TEXT });
  copyFileSync(join(packageRoot, "examples/custom-program/spread.bpf.c"), join(folder, "spread.bpf.c"));
  return folder;
}

async function build(folder: string): Promise<void> {
  const { policy, diagnostics } = parsePolicy(TEXT, join(folder, "steer.yaml"));
  if (policy === null) throw new Error(JSON.stringify(diagnostics));
  await withBuiltProgram(policy);
}

const refused = (part: string) => ({
  name: "TrustError",
  message: new RegExp(`^the program .*/spread\\.bpf\\.c is not run as root: .*${part}`),
});

serialRootTest("a program in a folder of root's is built, in /tmp too", async (t) => {
  await t.notThrowsAsync(build(folderWithProgram(t)));
});

serialRootTest(
  "a program of another's, in another's folder, or that others may write is refused by name",
  async (t) => {
    const { SUDO_UID } = process.env;
    delete process.env.SUDO_UID;
    t.teardown(() => {
      if (SUDO_UID !== undefined) process.env.SUDO_UID = SUDO_UID;
      else delete process.env.SUDO_UID;
    });
    const folder = folderWithProgram(t);
    const program = join(folder, "spread.bpf.c");
    chownSync(program, ANOTHER, ANOTHER);
    await t.throwsAsync(build(folder), refused("spread\\.bpf\\.c belongs to user 65534"));
    chownSync(program, 0, 0);
    chmodSync(program, 0o666);
    await t.throwsAsync(
      build(folder),
      refused("spread\\.bpf\\.c may be written by other users \\(mode 0666\\)"),
    );
    chmodSync(program, 0o644);
    chownSync(folder, ANOTHER, ANOTHER);
    await t.throwsAsync(build(folder), refused("belongs to user 65534"));
    process.env.SUDO_UID = String(ANOTHER);
    await t.notThrowsAsync(build(folder), "who calls sudo may run his own");
    delete process.env.SUDO_UID;
    const elsewhere = folderWith(t, {});
    symlinkSync(program, join(elsewhere, "spread.bpf.c"));
    await t.throwsAsync(build(elsewhere), refused("belongs to user 65534"));
  },
);

serialRootTest("a bundle of another's is refused where it has a program in it, and only then", async (t) => {
  const folder = folderWithProgram(t);
  const bundle = join(folder, "x.bundle");
  t.is((await xfrmSteer("compile", join(folder, "steer.yaml"), "-o", bundle)).code, 0);
  t.is((await xfrmSteer("check", bundle)).code, 0);
  chownSync(bundle, ANOTHER, ANOTHER);
  const { code, stderr } = await xfrmSteer("check", bundle);
  t.not(code, 0);
  t.regex(
    stderr,
    /the bundle .*x\.bundle, which has a program in it, is not run as root: .* belongs to user 65534/,
  );
});
