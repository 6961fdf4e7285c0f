import { execFileSync } from "node:child_process";
import { mkdtempSync, rmdirSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { ExecutionContext } from "ava";
import { ensureBpffs } from "libbpf-ts";

/** A bpffs of the test's own; unmounting it drops all pins. */
export function ownBpffs(t: ExecutionContext): string {
  const folder = mkdtempSync(join(tmpdir(), "bpffs-"));
  ensureBpffs(folder);
  t.teardown(() => {
    execFileSync("umount", [folder]);
    rmdirSync(folder);
  });
  return folder;
}
