import type { BackendName, Policy } from "../../config/policy.js";
import { findIfindex } from "../../sys/ifindex.js";
import type { Applied } from "../backend.js";
import { peerTable } from "./constants.js";
import {
  addRoutes,
  addRules,
  allRoutes,
  deleteRoutes,
  deleteRules,
  type Installed,
  installedOf,
} from "./kernel-state.js";
import { type Wanted, wantedOf } from "./wanted.js";

/**
 * An apply with the guard around it: guards stand before the interface, its programs and the policy change, and what is
 * not wanted any more goes after that. When it throws, what it added is gone. The caller holds the lock.
 */
export async function guarded(
  policy: Policy,
  backend: BackendName,
  apply: () => Promise<Applied> | Applied,
): Promise<Applied> {
  const lower = raiseGuard(policy, backend);
  let applied: Applied;
  try {
    applied = await apply();
  } catch (error) {
    lower();
    throw error;
  }
  // Packets follow the new policy: an apply cannot fail any more.
  try {
    const notes = settleGuard(policy, backend);
    return notes.length === 0 ? applied : { ...applied, notes: [...(applied.notes ?? []), ...notes] };
  } catch (error) {
    const warning = `its guard or routes are not as they should be, apply again: ${(error as Error).message}`;
    return {
      ...applied,
      warning: applied.warning === undefined ? warning : `${applied.warning}; ${warning}`,
    };
  }
}

/**
 * Adds what a policy needs before it is applied.
 *
 * @returns what takes it back
 * @throws IpError, with nothing added
 */
export function raiseGuard(policy: Policy, backend: BackendName): () => void {
  const { installed, wanted } = look(policy, backend, true);
  // Routes into the interface only when it has the policy: what runs may have another connection for them.
  const peers = [...wanted.routes].filter((text) =>
    text.includes(` table ${peerTable(policy.interface.name)} `),
  );
  const added = difference({ ...wanted, routes: new Set(peers) }, installed);
  try {
    add(added);
  } catch (error) {
    remove(added);
    throw error;
  }
  return () => remove(added);
}

/**
 * Brings routes and rules to what a policy wants, as the kernel's other routes are now.
 *
 * @returns what the user should know
 * @throws IpError
 */
export function settleGuard(policy: Policy, backend: BackendName): readonly string[] {
  const { installed, wanted } = look(policy, backend, false);
  add(difference(wanted, installed));
  remove(difference(installed, wanted));
  return wanted.notes;
}

/** Takes away all of an interface's. @throws SystemError */
export function lowerGuard(interfaceName: string): void {
  remove(installedOf(interfaceName, findIfindex(interfaceName), allRoutes()));
}

function look(
  policy: Policy,
  backend: BackendName,
  before: boolean,
): { installed: Installed; wanted: Wanted } {
  const { name } = policy.interface;
  const ifindex = findIfindex(name);
  const routes = allRoutes();
  return {
    installed: installedOf(name, ifindex, routes),
    wanted: wantedOf({ policy, backend, ifindex, routes, before }),
  };
}

function difference(a: Installed, b: Installed): Installed {
  const lacking = (of: ReadonlySet<string>, from: ReadonlySet<string>) =>
    new Set([...of].filter((each) => !from.has(each)));
  return {
    guards: lacking(a.guards, b.guards),
    routes: lacking(a.routes, b.routes),
    rules: lacking(a.rules, b.rules),
  };
}

/** Ways around the guards before the guards. */
function add({ guards, routes, rules }: Installed): void {
  addRoutes([...routes]);
  addRules([...rules]);
  addRoutes([...guards]);
}

/** Guards last. */
function remove({ guards, routes, rules }: Installed): void {
  deleteRoutes([...routes]);
  deleteRules([...rules]);
  deleteRoutes([...guards]);
}

/** A removal, and the guard behind it. The caller holds the lock. */
export async function unguarded<T>(interfaceName: string, remove: () => Promise<T> | T): Promise<T> {
  const result = await remove();
  lowerGuard(interfaceName);
  return result;
}

/** A refresh, and the guard as the routes are now. The caller holds the lock. */
export async function settled<T>(
  backend: BackendName,
  refresh: () => Promise<T> | T,
  loaded: () => Promise<Policy | null> | Policy | null,
): Promise<T> {
  const result = await refresh();
  const policy = await loaded();
  if (policy !== null) settleGuard(policy, backend);
  return result;
}
