/** Kernels and archives come from the cache only where nobody else can have put or changed them there. */
import {
  appendFileSync,
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import test, { type ExecutionContext } from "ava";
import { cacheDirectory, isIntact, openCache, seal } from "../../../src/selftest/vm/cache.js";
import { findKernel } from "../../../src/selftest/vm/kernel.js";
import { folderWith } from "../../support/folder.js";
import { rootTest, serialRootTest } from "../../support/root-test.js";

const ANOTHER = 65534;

function kernelIn(t: ExecutionContext, ...releases: string[]): string {
  const folder = folderWith(t, {});
  const cache = join(folder, "cache");
  for (const release of releases) {
    const modules = join(cache, "kernels", release, "lib/modules", release);
    mkdirSync(modules, { recursive: true });
    writeFileSync(join(modules, "modules.dep"), "");
    writeFileSync(join(modules, "vmlinuz"), release);
  }
  return cache;
}

test("a tree is as it was kept, or gone: changed, added, renamed or linked elsewhere", (t) => {
  for (const change of [
    (root: string) => appendFileSync(join(root, "a"), "x"),
    (root: string) => writeFileSync(join(root, "b"), ""),
    (root: string) => mkdirSync(join(root, "c")),
    (root: string) => symlinkSync("a", join(root, "d")),
    (root: string) => chmodSync(join(root, "a"), 0o666),
  ]) {
    const root = join(folderWith(t, { "tree/a": "1", "tree/sub/e": "2" }), "tree");
    seal(root);
    t.true(isIntact(root));
    change(root);
    t.false(isIntact(root));
    t.false(existsSync(root));
  }
});

test("a kernel that changed in the cache is not booted: the one before it is", async (t) => {
  const cache = kernelIn(t, "6.12.1", "6.12.2");
  t.is((await findKernel("6.12", { cache })).release, "6.12.2");
  appendFileSync(join(cache, "kernels/6.12.2/lib/modules/6.12.2/vmlinuz"), "x");
  t.is((await findKernel("6.12", { cache })).release, "6.12.1");
  t.is(statSync(join(cache, "kernels")).mode & 0o777, 0o700);
});

rootTest("a kernel that another planted is not booted, nor one in another's cache", async (t) => {
  const cache = kernelIn(t, "6.12.1", "6.12.2");
  chownSync(join(cache, "kernels/6.12.2/lib/modules/6.12.2/vmlinuz"), ANOTHER, ANOTHER);
  t.is((await findKernel("6.12", { cache })).release, "6.12.1");
  chownSync(cache, ANOTHER, ANOTHER);
  await t.throwsAsync(findKernel("6.12", { cache }), {
    name: "VmError",
    message: /cache belongs to user 65534/,
  });
  t.throws(() => openCache(join(cache, "initramfs")), { name: "VmError" });
});

serialRootTest("root keeps nothing below a folder of another's", (t) => {
  const home = folderWith(t, {});
  const { XDG_CACHE_HOME } = process.env;
  t.teardown(() => {
    if (XDG_CACHE_HOME === undefined) delete process.env.XDG_CACHE_HOME;
    else process.env.XDG_CACHE_HOME = XDG_CACHE_HOME;
  });
  process.env.XDG_CACHE_HOME = home;
  t.is(cacheDirectory(), join(home, "xfrm-steer"));
  chownSync(home, ANOTHER, ANOTHER);
  t.not(cacheDirectory(), join(home, "xfrm-steer"));
});
