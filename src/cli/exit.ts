import { CompileError as ClangError, MissingCompilerError } from "bpf-linker";
import { MissingFeatureError, MissingLibraryError, MissingRightsError } from "libbpf-ts";
import { CompileError } from "../compiler/error.js";
import { FlowSyntaxError } from "../compiler/flow.js";
import { KeyError } from "../config/index.js";
import { ProgramError } from "../program/error.js";
import { systemErrorText } from "../sys/error-text.js";

/** What the process ends with; 3 is what plan says where there are changes; as kselftest counts them, 4 is a skip for a lacking kernel feature or right. */
export const ExitCode = { done: 0, failed: 1, usage: 2, changes: 3, lacking: 4 } as const;

/** An error whose message is all that the user needs; `code` becomes the exit code. */
export class CliError extends Error {
  override readonly name = "CliError";
  readonly code: number;
  constructor(message: string, code: number) {
    super(message);
    this.code = code;
  }
}

/** Errors that a user can cause and mend: their message is printed without a stack. */
const EXPECTED = new Set([
  "ArgumentError",
  "BackendError",
  "BenchError",
  "BpfError",
  "BundleError",
  "ConnectionError",
  "ControlError",
  "DemoError",
  "DeviceError",
  "InvalidObjectError",
  "IpError",
  "LockError",
  "RegularFileError",
  "ProgramRefusedError",
  "SystemError",
  "TrustError",
  "TunError",
  "VerifierError",
  "VmError",
]);

/** Prints an error the way its kind wants it, and returns the exit code. */
export function reportError(error: unknown): number {
  if (!(error instanceof Error)) {
    console.error(`xfrm-steer: ${String(error)}`);
    return ExitCode.failed;
  }
  if (error instanceof CliError) return say(error, error.code);
  if (error instanceof FlowSyntaxError || error instanceof KeyError) {
    console.error(`xfrm-steer: ${error.message}; ${error.hint}`);
    return ExitCode.usage;
  }
  if (error instanceof ClangError) {
    console.error(error.stderr.trimEnd());
    console.error(`xfrm-steer: ${error.source} does not compile${error.hint ? `; ${error.hint}` : ""}`);
    return ExitCode.usage;
  }
  if (error instanceof ProgramError) return say(error, ExitCode.usage);
  if (error instanceof CompileError) {
    console.error(error.message); // each line with its place
    return ExitCode.usage;
  }
  if (error instanceof MissingRightsError || reasonOf(error) === "no-rights")
    return say(error, ExitCode.lacking);
  const lacking = [MissingFeatureError, MissingLibraryError, MissingCompilerError];
  if (lacking.some((kind) => error instanceof kind)) return say(error, ExitCode.lacking);
  const code = codeOf(error) === "EPERM" || codeOf(error) === "EACCES" ? ExitCode.lacking : ExitCode.failed;
  const text = systemErrorText(error);
  if (text !== null) {
    console.error(`xfrm-steer: ${text}`);
    return code;
  }
  if (code === ExitCode.lacking) return say(error, code);
  if (EXPECTED.has(error.name)) return say(error, ExitCode.failed);
  console.error(`xfrm-steer: internal error: ${error.stack ?? error.message}`);
  return ExitCode.failed;
}

function say(error: Error, code: number): number {
  console.error(`xfrm-steer: ${error.message}`);
  return code;
}

const codeOf = (error: Error) => (error as NodeJS.ErrnoException).code;
const reasonOf = (error: Error) => (error as { reason?: unknown }).reason;
