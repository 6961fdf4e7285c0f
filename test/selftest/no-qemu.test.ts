import { spawnSync } from "node:child_process";
import { readdirSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import test from "ava";
import { CLI } from "../support/cli.js";
import { folderWith } from "../support/folder.js";

test("without QEMU a selftest in VMs is skipped as a whole, in one plan", (t) => {
  const path = folderWith(t, {});
  for (const folder of ["/usr/bin", "/usr/sbin", "/bin", "/sbin"])
    for (const name of readdirSync(folder).filter((name) => !name.startsWith("qemu-")))
      try {
        symlinkSync(join(folder, name), join(path, name));
      } catch {
        // The folders are often the same.
      }
  const { status, stdout, stderr } = spawnSync(process.execPath, [CLI, "selftest", "--kernel", "6.12"], {
    env: { ...process.env, PATH: path },
    encoding: "utf8",
  });
  t.is(status, 4, stderr);
  t.regex(stdout, /^KTAP version 1\n1\.\.0 # SKIP [^\n]+\n$/);
});
