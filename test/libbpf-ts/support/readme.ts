import { mkdtempSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";

/** Writes the files of a README's example, each block's first line naming its own, into a folder of their own. */
export function unpackReadme(path: string): string {
  const folder = mkdtempSync(join(tmpdir(), "readme-"));
  symlinkSync(resolve("node_modules"), join(folder, "node_modules"));
  for (const [, body = ""] of readFileSync(path, "utf8").matchAll(/^```(?:c|js)\n([\s\S]*?)^```$/gm)) {
    const name = /^\/\/ ([\w.]+)/.exec(body)?.[1];
    if (name !== undefined) writeFileSync(join(folder, name), body);
  }
  return folder;
}
