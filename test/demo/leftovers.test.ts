/** What the demo clears as root of demos before is what demos made. */
import { execFileSync, spawnSync } from "node:child_process";
import { existsSync, mkdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { clearLeftovers } from "../../src/demo/topology.js";
import { PrivateFolder } from "../../src/sys/private-folder.js";
import { folderWith } from "../support/folder.js";
import { serialRootTest } from "../support/root-test.js";

/** Above any pid (PID_MAX_LIMIT, linux/threads.h), so that no process has it. */
const NO_PID = 99_999_999;

serialRootTest("a folder in /tmp that has a demo's name by another user's doing is not touched", (t) => {
  const victim = folderWith(t, { precious: "root's" });
  const planted = join(tmpdir(), `xfrm-steer-demo-${NO_PID}-planted`);
  t.teardown(() => rmSync(planted, { recursive: true, force: true }));
  const { status } = spawnSync(
    "setpriv",
    [
      "--reuid",
      "65534",
      "--regid",
      "65534",
      "--clear-groups",
      "sh",
      "-c",
      `mkdir ${planted} && touch ${planted}/mine && ln -s ${victim} ${planted}/link`,
    ],
    { stdio: "inherit" },
  );
  t.is(status, 0);
  clearLeftovers();
  t.true(existsSync(join(planted, "mine")), "root removed a folder that it had not made");
  t.true(existsSync(join(victim, "precious")));
});

serialRootTest("root's own files in a folder that another named after a demo stay", (t) => {
  const planted = join(tmpdir(), `xfrm-steer-demo-${NO_PID}-roots`);
  t.teardown(() => rmSync(planted, { recursive: true, force: true }));
  mkdirSync(planted);
  writeFileSync(join(planted, "precious"), "");
  clearLeftovers();
  t.true(existsSync(join(planted, "precious")));
});

serialRootTest("a folder that a killed demo left is cleared", (t) => {
  execFileSync("mkdir", ["-p", "-m", "0700", "/run/xfrm-steer"]);
  const left = new PrivateFolder(`xfrm-steer-demo-${NO_PID}-`, "/run/xfrm-steer");
  t.teardown(() => left.remove());
  writeFileSync(join(left.path, "x.key"), "");
  clearLeftovers();
  t.false(existsSync(left.path));
});
