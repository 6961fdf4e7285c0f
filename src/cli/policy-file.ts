import { closeSync, readSync } from "node:fs";
import { BundleError, decodeBundle, isBundle } from "../compiler/bundle/index.js";
import {
  checkKeys,
  type Diagnostic,
  formatDiagnostic,
  type LoadOptions,
  loadPolicy,
  type Policy,
} from "../config/index.js";
import { MAX_BUNDLE_BYTES } from "../config/read-error.js";
import { openRegular, readRegular } from "../sys/regular-file.js";
import { demandTrusted } from "../sys/trusted-path.js";
import { CliError, ExitCode } from "./exit.js";

export interface Loaded {
  readonly policy: Policy | null;
  readonly diagnostics: readonly Diagnostic[];
}

/** Loads a steer.yaml or a bundle and, if asked, opens its keys; nothing is printed. */
export function loadFile(file: string, options: LoadOptions & { keys: boolean }): Loaded {
  const { policy, diagnostics } = startsAsBundle(file) ? loadBundle(file) : loadPolicy(file, options);
  if (policy === null || !options.keys) return { policy, diagnostics };
  const keys = checkKeys(policy);
  return { policy: keys.length === 0 ? policy : null, diagnostics: [...diagnostics, ...keys] };
}

/** As `loadFile`, with diagnostics printed to stderr. @throws CliError (exit 2) where the file has an error */
export function demandPolicy(file: string, options: LoadOptions = {}): Policy {
  const { policy, diagnostics } = loadFile(file, { ...options, keys: false });
  for (const diagnostic of diagnostics) console.error(formatDiagnostic(diagnostic));
  if (policy === null) throw new CliError(`${file} has errors; nothing was changed`, ExitCode.usage);
  return policy;
}

/** Opens the keys of a policy, with diagnostics printed to stderr. @throws CliError (exit 2) where one is not right */
export function demandKeys(policy: Policy, file: string): void {
  const diagnostics = checkKeys(policy);
  for (const diagnostic of diagnostics) console.error(formatDiagnostic(diagnostic));
  if (diagnostics.length > 0)
    throw new CliError(`the keys of ${file} have errors; nothing was changed`, ExitCode.usage);
}

/** More than the start of a bundle. */
const HEAD = 64;

function startsAsBundle(file: string): boolean {
  const head = Buffer.alloc(HEAD);
  try {
    const fd = openRegular(file, MAX_BUNDLE_BYTES);
    try {
      return isBundle(head.subarray(0, readSync(fd, head, 0, HEAD, 0)));
    } finally {
      closeSync(fd);
    }
  } catch {
    return false; // loadPolicy says what is wrong with the file
  }
}

function loadBundle(file: string): Loaded {
  try {
    const policy = decodeBundle(readRegular(file, MAX_BUNDLE_BYTES));
    // Its program's object is in the bundle, and goes into the kernel as it is.
    if (policy.program) demandTrusted(file, `the bundle ${file}, which has a program in it,`);
    return { policy, diagnostics: [] };
  } catch (error) {
    if (!(error instanceof BundleError)) throw error;
    const [message = "", hint = ""] = error.message.split("; ");
    return { policy: null, diagnostics: [{ file, line: 1, column: 1, severity: "error", message, hint }] };
  }
}
