import { checkKeys, type Diagnostic, formatDiagnostic, loadPolicy, type Policy } from "../config/index.js";
import { CliError, ExitCode } from "./exit.js";

export interface Loaded {
  readonly policy: Policy | null;
  readonly diagnostics: readonly Diagnostic[];
}

/** Loads a policy and, if asked, opens its keys; nothing is printed. */
export function loadFile(file: string, options: { keys: boolean }): Loaded {
  const { policy, diagnostics } = loadPolicy(file);
  if (policy === null || !options.keys) return { policy, diagnostics };
  const keys = checkKeys(policy);
  return { policy: keys.length === 0 ? policy : null, diagnostics: [...diagnostics, ...keys] };
}

/** As `loadFile`, with diagnostics printed to stderr. @throws CliError (exit 2) where the file has an error */
export function demandPolicy(file: string, options: { keys: boolean }): Policy {
  const { policy, diagnostics } = loadFile(file, options);
  for (const diagnostic of diagnostics) console.error(formatDiagnostic(diagnostic));
  if (policy === null) throw new CliError(`${file} has errors; nothing was changed`, ExitCode.usage);
  return policy;
}
