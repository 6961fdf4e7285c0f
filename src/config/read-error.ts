const READ_ERRORS: Readonly<Record<string, readonly [message: string, hint: string]>> = {
  ENOENT: ["does not exist", "check the path"],
  EISDIR: ["is a directory", "name a file in it"],
  EACCES: ["may not be read", "give yourself read permission"],
};

/** Why a file that the policy names cannot be read, and what to do. */
export function describeReadError(error: unknown, file: string): readonly [message: string, hint: string] {
  const { code } = error as NodeJS.ErrnoException;
  const [why, hint] = READ_ERRORS[code ?? ""] ?? [
    `cannot be read (${code ?? error})`,
    "name a readable file",
  ];
  return [`${file} ${why}`, hint];
}
