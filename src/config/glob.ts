import { existsSync, readdirSync } from "node:fs";
import path from "node:path";

export const isGlob = (text: string): boolean => /[*?]/.test(text);

/**
 * The files that a pattern matches, in the order of their code points: `*` is any part of a name and `?` one character of
 * it, in every folder of the path; a name that begins with a dot wants a dot. node:fs has no glob before Node 22.
 *
 * @param pattern an absolute path
 * @throws what readdir(3) says, with `code`, unless a folder is not there
 */
export function glob(pattern: string): string[] {
  let found = [path.parse(pattern).root];
  for (const segment of pattern.split(path.sep).filter((each) => each !== ""))
    found = found.flatMap((folder) => inFolder(folder, segment));
  return found.sort();
}

function inFolder(folder: string, segment: string): string[] {
  if (!isGlob(segment)) {
    const name = path.join(folder, segment);
    return existsSync(name) ? [name] : [];
  }
  const wanted = new RegExp(`^${[...segment].map(expressionOf).join("")}$`, "su");
  return namesIn(folder)
    .filter((name) => wanted.test(name) && name.startsWith(".") === segment.startsWith("."))
    .map((name) => path.join(folder, name));
}

function expressionOf(character: string): string {
  if (character === "*") return ".*";
  return character === "?" ? "." : character.replace(/[\\^$.|+()[\]{}/]/, "\\$&");
}

function namesIn(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "ENOENT" || code === "ENOTDIR") return [];
    throw error;
  }
}
