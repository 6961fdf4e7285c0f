import type { Backend } from "../backends/backend.js";
import { allBackends, chooseBackend } from "../backends/select.js";
import type { Policy } from "../config/index.js";
import { CliError, ExitCode } from "./exit.js";

/** Steering needs CAP_NET_ADMIN and CAP_BPF; say so before anything else fails half-way. */
export function demandRoot(doing: string): void {
  if (process.geteuid?.() !== 0)
    throw new CliError(`${doing} needs root; run it with sudo`, ExitCode.lacking);
}

/** The backend that a policy asks for, or the best there is. @throws CliError (exit 4) where none can serve */
export function demandBackend(policy: Policy): Backend {
  const { chosen, candidates } = chooseBackend(policy.backend, policy);
  if (chosen) return chosen;
  const why = candidates.map(({ name, reason }) => `${name}: ${reason}`).join("\n  ");
  throw new CliError(`no backend can serve here\n  ${why}`, ExitCode.lacking);
}

/** The backend that runs an interface now, if any. */
export async function backendOf(interfaceName: string): Promise<Backend | null> {
  for (const backend of allBackends()) if ((await backend.status(interfaceName)) !== null) return backend;
  return null;
}

/** Interfaces that any backend set up in this network namespace. */
export function allInterfaces(): string[] {
  return [...new Set(allBackends().flatMap((backend) => backend.interfaces()))].sort();
}
