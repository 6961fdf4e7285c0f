import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test from "ava";
import { BpfError, BpfMap, ensureBpffs, unpin } from "libbpf-ts";
import { fixtureFolder, kernelTest, opened } from "./support/bpf-test.js";
import { ownBpffs } from "./support/bpffs.js";

const fixtures = fixtureFolder(test);

kernelTest("bpffs is mounted once", (t) => {
  const parent = mkdtempSync(join(tmpdir(), "bpffs-"));
  const folder = join(parent, "made", "here");
  t.true(ensureBpffs(folder));
  t.teardown(() => {
    execFileSync("umount", [folder]);
    rmSync(parent, { recursive: true });
  });
  t.false(ensureBpffs(folder));
  mkdirSync(join(folder, "inner"));
  t.false(ensureBpffs(join(folder, "inner")));
});

kernelTest("unpin removes a pin and is content where there is none", async (t) => {
  const path = `${ownBpffs(t)}/map`;
  const map = opened(t, await fixtures.object("basics"))
    .load()
    .map("counters");
  map.pin(path);
  t.true(existsSync(path));
  unpin(path);
  unpin(path);
  t.false(existsSync(path));
  t.throws(() => BpfMap.openPinned(path), { instanceOf: BpfError, message: /ENOENT/ });
});
