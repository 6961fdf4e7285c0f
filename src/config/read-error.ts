import { meaningOf } from "../sys/error-text.js";
import { RegularFileError } from "../sys/regular-file.js";

/** Most bytes of a YAML file. One of 100,000 connections is 20 MB, and read in as many seconds. */
export const MAX_YAML_BYTES = 256 << 20;
/** Most bytes of a bulk file, which is read line by line: thirty times those of a million flows. */
export const MAX_FLOW_BYTES = 4 * 2 ** 30;
/** Most bytes of a bundle: larger than any policy that fits the tables. */
export const MAX_BUNDLE_BYTES = 2 ** 30;

const READ_ERRORS: Readonly<Record<string, readonly [message: string, hint: string]>> = {
  ENOENT: ["does not exist", "check the path"],
  EISDIR: ["is a directory", "name a file in it"],
  EACCES: ["may not be read", "give yourself read permission"],
};

/** Why a file that the policy names cannot be read, and what to do. */
export function describeReadError(error: unknown, file: string): readonly [message: string, hint: string] {
  if (error instanceof RegularFileError) {
    return error.code === "ENOTREG"
      ? [`${file} is ${error.found}`, "name a regular file"]
      : [`${file} is larger than ${error.found}`, "name a smaller file; many flows belong into flow files"];
  }
  const { code } = error as NodeJS.ErrnoException;
  const [what, advice] = (code === undefined ? null : meaningOf(code)) ?? [];
  if (what !== undefined && advice !== undefined && !Object.hasOwn(READ_ERRORS, code ?? ""))
    return [`${file} cannot be read: ${what} (${code})`, advice];
  const [why, hint] = READ_ERRORS[code ?? ""] ?? [
    `cannot be read (${code ?? error})`,
    "name a readable file",
  ];
  return [`${file} ${why}`, hint];
}
