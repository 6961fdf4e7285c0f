import { EPERM, errnoName } from "./errno.js";
import { type BpfError, InvalidObjectError, MissingBtfError, MissingFeatureError } from "./errors.js";
import { errnoText, failure } from "./fail.js";
import { mapTypeName } from "./map-shape.js";
import { native } from "./native.js";
import { VerifierError } from "./verifier-log.js";

// Words of libbpf 1.x's messages.
const VERIFIER_LOG = /prog '([^']+)': -- BEGIN PROG LOAD LOG --\n([\s\S]*?)-- END PROG LOAD LOG --/g;
const FAILED_MAP = /map '([^']+)': failed to create/;
const FAILED_PROGRAM = /prog '([^']+)': (?:BPF program load failed|failed to load)/;
const NO_KSYM = /extern \((?:func|var)?\s*ksym\)\s*'([^']+)'[^\n]*(?:not found|not resolved|failed to find)/;
const NO_KERNEL_BTF = /kernel BTF is missing|failed to find valid kernel BTF|BTF is required, but is missing/;

/** libbpf's warnings, without its prefix, last first: the last ones only repeat that it failed. */
function firstWarning(log: string): string {
  return log.split("\n")[0]?.replace(/^libbpf: /, "") ?? "";
}

/** The error for an object that libbpf could not open. */
export function openFailure(op: string, errno: number, log: string): BpfError {
  if (errno === EPERM) return failure(op, errno, { log });
  const hint = /BTF is required/.test(log) ? "compile it with clang -g -target bpf" : undefined;
  const found = firstWarning(log) || errnoText(errno);
  return new InvalidObjectError(op, `${found} (${errnoName(errno)})`, {
    errno,
    log,
    ...(hint === undefined ? {} : { hint }),
  });
}

/** What an error about loading has to know of the object. */
export interface LoadedParts {
  mapType(name: string): number | undefined;
  programType(name: string): number | undefined;
  /** The object file. */
  readonly bytes: Uint8Array;
}

/** The error for an object that did not load. Features are probed only here, where something failed. */
export function loadFailure(op: string, errno: number, log: string, parts: LoadedParts): BpfError {
  const ksym = NO_KSYM.exec(log)?.[1];
  if (ksym !== undefined) {
    return new MissingFeatureError(op, `kfunc or kernel variable ${ksym}`, undefined, {
      errno,
      log,
      hint: "use a kernel that has it, or load the module that does",
    });
  }
  if (NO_KERNEL_BTF.test(log)) return new MissingBtfError(op, log);
  if (errno === EPERM && !log.includes("BEGIN PROG LOAD LOG")) return failure(op, errno, { log });

  const map = FAILED_MAP.exec(log)?.[1];
  if (map !== undefined) {
    const type = parts.mapType(map);
    if (type !== undefined && native().probeMapType(type, null) === 0) {
      return new MissingFeatureError(op, `map type ${mapTypeName(type)} (map ${map})`, undefined, {
        errno,
        log,
      });
    }
    return failure(`${op}: create map ${map}`, errno, { log, hint: "check its sizes, entries and flags" });
  }
  const [, program, text] = [...log.matchAll(VERIFIER_LOG)].at(-1) ?? [];
  if (program !== undefined && text !== undefined && text.trim() !== "") {
    return new VerifierError(program, errno, errnoName(errno), text, parts.bytes);
  }
  const failed = FAILED_PROGRAM.exec(log)?.[1];
  const type = failed === undefined ? undefined : parts.programType(failed);
  if (type !== undefined && native().probeProgramType(type, null) === 0) {
    const name = native().programTypeName(type) ?? `type ${type}`;
    return new MissingFeatureError(op, `program type ${name} (program ${failed})`, undefined, { errno, log });
  }
  const said = firstWarning(log);
  return failure(said === "" ? op : `${op}: ${said}`, errno, { log });
}
