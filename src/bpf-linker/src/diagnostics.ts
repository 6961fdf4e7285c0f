import { BpfError } from "libbpf-ts";

/** One message of clang. */
export interface Diagnostic {
  readonly severity: "error" | "warning" | "note";
  readonly message: string;
  /** Left out where the message is about no place, as the backend's are. Lines and columns count from 1. */
  readonly file?: string;
  readonly line?: number;
  readonly column?: number;
}

const PLACED = /^(.+?):(\d+):(\d+): (fatal error|error|warning|note): (.*)$/;
const UNPLACED = /^(?:clang[^:]*: )?(fatal error|error|warning): (.*)$/;

function severity(word: string | undefined): Diagnostic["severity"] {
  return word === "warning" || word === "note" ? word : "error";
}

/** The diagnostics in clang's standard error. */
export function parseDiagnostics(stderr: string): Diagnostic[] {
  return stderr.split("\n").flatMap((text): Diagnostic[] => {
    const placed = PLACED.exec(text);
    if (placed !== null) {
      const [, file = "", line, column, word, message = ""] = placed;
      return [{ severity: severity(word), message, file, line: Number(line), column: Number(column) }];
    }
    const unplaced = UNPLACED.exec(text);
    return unplaced === null ? [] : [{ severity: severity(unplaced[1]), message: unplaced[2] ?? "" }];
  });
}

/** `file:line:column: severity: message`, as compilers write it. */
export function formatDiagnostic({ file, line, column, severity, message }: Diagnostic): string {
  return file === undefined
    ? `${severity}: ${message}`
    : `${file}:${line}:${column}: ${severity}: ${message}`;
}

/** clang refused a source file. */
export class CompileError extends BpfError {
  readonly source: string;
  readonly diagnostics: readonly Diagnostic[];
  /** All that clang wrote, with its carets. */
  readonly stderr: string;

  constructor(source: string, stderr: string) {
    const diagnostics = parseDiagnostics(stderr);
    const errors = diagnostics.filter((diagnostic) => diagnostic.severity === "error");
    const [first] = errors;
    const more = errors.length > 1 ? ` (and ${errors.length - 1} more)` : "";
    super(`compile ${source}`, {
      code: "COMPILE",
      found: first === undefined ? stderr.trim() : formatDiagnostic(first) + more,
      hint: hintFor(first),
    });
    this.source = source;
    this.diagnostics = diagnostics;
    this.stderr = stderr;
  }
}

/** What usually is behind an error that comes from the set-up and not from the source. */
function hintFor(diagnostic: Diagnostic | undefined): string | undefined {
  const message = diagnostic?.message ?? "";
  if (/'bpf\/.*' file not found/.test(message)) return "install libbpf's headers (Debian: libbpf-dev)";
  if (/'(linux|asm)\/.*' file not found/.test(message))
    return "install the kernel's headers (Debian: linux-libc-dev)";
  if (/'bpf'|No available targets/.test(message)) return "this clang was built without the BPF target";
  return undefined;
}
