/** Folders of our own that nobody else can enter, exchange or have removed in another's place. */
import {
  chmodSync,
  chownSync,
  existsSync,
  lchownSync,
  mkdirSync,
  readdirSync,
  renameSync,
  rmdirSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import test from "ava";
import {
  canBePrivate,
  ensurePrivateFolder,
  PrivateFolder,
  removeLeftover,
} from "../../src/sys/private-folder.js";
import { foreignPart, TrustError } from "../../src/sys/trusted-path.js";
import { folderWith } from "../support/folder.js";
import { rootTest } from "../support/root-test.js";

const ANOTHER = 65534;

test("a private folder has mode 0700 and goes with all that is in it", (t) => {
  const folder = new PrivateFolder("xst-", folderWith(t, {}));
  t.is(statSync(folder.path).mode & 0o7777, 0o700);
  mkdirSync(join(folder.path, "a/b"), { recursive: true });
  writeFileSync(join(folder.path, "a/b/c"), "");
  folder.remove();
  t.false(existsSync(folder.path));
  folder.remove(); // twice does nothing
});

test("what a link in it leads to stays", (t) => {
  const kept = folderWith(t, { precious: "x" });
  const folder = new PrivateFolder("xst-", folderWith(t, {}));
  symlinkSync(kept, join(folder.path, "link"));
  folder.remove();
  t.deepEqual(readdirSync(kept), ["precious"]);
});

test("another folder that took its name, or a link, is not removed", (t) => {
  const parent = folderWith(t, {});
  const kept = folderWith(t, { precious: "x" });
  const folder = new PrivateFolder("xst-", parent);
  rmdirSync(folder.path);
  const other = join(parent, "other");
  mkdirSync(other);
  writeFileSync(join(other, "precious"), "");
  renameSync(other, folder.path);
  folder.remove();
  t.deepEqual(readdirSync(folder.path), ["precious"], "a folder");
  rmSync(folder.path, { recursive: true });
  symlinkSync(kept, folder.path);
  folder.remove();
  removeLeftover(folder.path);
  t.deepEqual(readdirSync(kept), ["precious"], "a link");
});

test("a folder of ours that others could read becomes private; one that they may write is refused", (t) => {
  const parent = folderWith(t, {});
  const path = join(parent, "x", "y");
  ensurePrivateFolder(path);
  t.is(statSync(join(parent, "x")).mode & 0o7777, 0o700);
  chmodSync(path, 0o755);
  ensurePrivateFolder(path);
  t.is(statSync(path).mode & 0o7777, 0o700);
  chmodSync(path, 0o777);
  t.throws(() => ensurePrivateFolder(path), {
    instanceOf: TrustError,
    message: /y may be written by other users \(mode 0777\)/,
  });
  t.throws(() => new PrivateFolder("xst-", path), { instanceOf: TrustError });
  t.false(canBePrivate(join(path, "z")));
});

rootTest("a folder, or a link to one, of another user's is refused and not removed", (t) => {
  const parent = folderWith(t, { "home/x/precious": "" });
  chmodSync(parent, 0o755);
  const home = join(parent, "home");
  chownSync(home, ANOTHER, ANOTHER);
  t.throws(() => ensurePrivateFolder(join(home, "x")), {
    instanceOf: TrustError,
    message: /home belongs to user 65534/,
  });
  t.throws(() => ensurePrivateFolder(join(home, "new")), { instanceOf: TrustError });
  t.false(existsSync(join(home, "new")));
  const link = join(parent, "link");
  symlinkSync("home/x", link);
  t.is(foreignPart(link), `${home} belongs to user 65534`, "where the link leads counts");
  chownSync(home, 0, 0);
  t.is(foreignPart(link), null);
  rmSync(link);
  symlinkSync("home/x", link);
  lchownSync(link, ANOTHER, ANOTHER);
  t.is(foreignPart(link), `${link} belongs to user 65534`, "whose the link is counts");
  chownSync(join(home, "x"), ANOTHER, ANOTHER);
  removeLeftover(join(home, "x"));
  t.true(existsSync(join(home, "x", "precious")), "a leftover is ours");
});

test("a loop of links ends", (t) => {
  const folder = folderWith(t, {});
  symlinkSync("b", join(folder, "a"));
  symlinkSync("a", join(folder, "b"));
  t.regex(foreignPart(join(folder, "a")) ?? "", /too many symbolic links/);
});
