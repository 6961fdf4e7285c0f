import { readFileSync } from "node:fs";
import { Elf } from "./elf.js";
import { EINVAL, errnoName } from "./errno.js";
import { BpfError, InvalidObjectError } from "./errors.js";
import { errnoText } from "./fail.js";
import { withLibbpfLog } from "./libbpf-log.js";
import { lastErrno } from "./libc.js";
import { native } from "./native.js";

/** libbpf's static linker refused; `file` is the object it was at, or the output. */
export class LinkError extends BpfError {
  readonly file: string;
  constructor(op: string, file: string, errno: number, log: string) {
    const said = log.split("\n")[0]?.replace(/^libbpf: /, "");
    super(op, {
      code: errnoName(errno),
      errno,
      found: said || `${errnoText(errno)} (${errnoName(errno)})`,
      log,
    });
    this.file = file;
  }
}

/** bpf_linker__add_file of libbpf 1.1 crashes on what is no ELF file. */
function checkElf(file: string): void {
  const op = `link ${file}`;
  let bytes: Uint8Array;
  try {
    bytes = readFileSync(file);
  } catch (cause) {
    const { code = "EIO", errno = 0 } = cause as NodeJS.ErrnoException;
    throw new LinkError(op, file, Math.abs(errno), `cannot read it (${code})`);
  }
  try {
    new Elf(bytes);
  } catch (cause) {
    if (!(cause instanceof InvalidObjectError)) throw cause;
    throw new LinkError(op, file, EINVAL, cause.message);
  }
}

/**
 * Links BPF objects into one (bpf_linker of libbpf): externs are resolved, BTF is merged and deduplicated, DWARF
 * is left out. A failed link may leave an incomplete output file.
 * @throws LinkError, with libbpf's words
 */
export function linkObjects(files: readonly string[], output: string): void {
  for (const file of files) checkElf(file);
  const lib = native();
  const step = (op: string, file: string, work: () => number): void => {
    const { result, log } = withLibbpfLog(work);
    if (result < 0) throw new LinkError(op, file, -result, log);
  };
  const { result: linker, log } = withLibbpfLog(() => lib.linkerNew(output, null));
  if (linker === null) throw new LinkError(`create ${output}`, output, lastErrno(), log);
  try {
    for (const file of files) step(`link ${file}`, file, () => lib.linkerAddFile(linker, file, null));
    step(`write ${output}`, output, () => lib.linkerFinalize(linker));
  } finally {
    withLibbpfLog(() => lib.linkerFree(linker));
  }
}
