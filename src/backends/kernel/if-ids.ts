import type { HeldIfId } from "../backend.js";

/**
 * Whose an if_id is. SAs and policies are the IKE daemon's, and it learns of a policy's change later than the data path does: an
 * if_id that goes from one connection to another would lead the new one's packets into the SAs of the old. So the apply that gives it
 * away holds it, which drops what would be sent by it or came in by it, and a later one opens it.
 */

/** An if_id that a connection has under hold, or that none has any more. */
export interface KeptIfId {
  readonly ifId: number;
  /** The connection that has it, or had it last. */
  readonly owner: string;
  readonly hold: Hold | null;
}

export interface Hold {
  /** Connection whose packets were the last to go by it. */
  readonly from: string;
  /** SAs that had this if_id when it was held, and the connection of each. Others belong to its owner. */
  readonly sas: readonly (readonly [sa: string, connection: string])[];
}

/** Beside a policy that was applied; what is not in here is open, and its connection's. */
export interface IfIdRecord {
  readonly kept: readonly KeptIfId[];
  /** Packets that were under way when its if_ids were held are gone, and who applied was told: a later apply may open them. */
  readonly settled: boolean;
}

export const NO_IF_IDS: IfIdRecord = { kept: [], settled: true };

type Named = { readonly name: string; readonly ifId: number };

/** A policy that was applied, and whose its if_ids were. */
export interface Applied {
  readonly connections: readonly Named[];
  readonly ifIds: IfIdRecord;
}

/** What becomes of if_ids by an apply. */
export interface IfIdPlan {
  readonly kept: readonly KeptIfId[];
  /** By if_id, those that connections have and that are held after it. */
  readonly held: readonly HeldIfId[];
  /** Those of `held` that were not held before for the same connection. */
  readonly heldNow: ReadonlySet<number>;
  /** Held before and open after it. */
  readonly opened: readonly number[];
}

/**
 * Compares the if_ids of a policy with those of the one before.
 *
 * @param installed gives the SAs of each if_id as the kernel has them; it is asked only where an if_id is or was held
 * @param mayOpen false keeps every hold: the same policy is applied for another reason
 */
export function planIfIds(
  connections: readonly Named[],
  before: Applied | null,
  installed: () => ReadonlyMap<number, readonly string[]>,
  mayOpen = true,
): IfIdPlan {
  const former = new Map<number, KeptIfId>();
  for (const { name, ifId } of before?.connections ?? []) former.set(ifId, { ifId, owner: name, hold: null });
  for (const each of before?.ifIds.kept ?? []) former.set(each.ifId, each);
  const opens = mayOpen && (before?.ifIds.settled ?? true);
  let seen: ReadonlyMap<number, readonly string[]> | undefined;
  const sasOf = (ifId: number) => {
    seen ??= installed();
    return seen.get(ifId) ?? [];
  };
  const kept: KeptIfId[] = [];
  const held: HeldIfId[] = [];
  const heldNow = new Set<number>();
  const opened: number[] = [];
  for (const { name, ifId } of connections) {
    const was = former.get(ifId);
    former.delete(ifId);
    if (was === undefined || (was.owner === name && was.hold === null)) continue;
    const known = new Map(was.hold?.sas);
    const sas = sasOf(ifId).map((sa) => [sa, known.get(sa) ?? was.owner] as const);
    const others = sas.filter(([, connection]) => connection !== name);
    // Either it waited for this, or it goes back to whose it was before anybody else sent a packet by it.
    const back = was.owner === name || was.hold?.from === name;
    if (was.hold !== null && back && opens && others.length === 0) {
      opened.push(ifId);
      continue;
    }
    const last = was.hold?.from ?? was.owner;
    const from = last === name ? (others[0]?.[1] ?? was.owner) : last;
    const hold = was.owner === name && was.hold ? was.hold : { from, sas };
    kept.push({ ifId, owner: name, hold });
    held.push({ ifId, connection: name, before: hold.from, sas: others.map(([sa]) => sa) });
    if (hold !== was.hold || (mayOpen && !opens)) heldNow.add(ifId);
  }
  kept.push(...former.values());
  held.sort((a, b) => a.ifId - b.ifId);
  return { kept, held, heldNow, opened };
}

/** The held if_ids that a record tells of, as they were at its apply. */
export function heldIfIds({ connections, ifIds }: Applied): HeldIfId[] {
  const names = new Map(connections.map(({ name, ifId }) => [ifId, name]));
  return ifIds.kept
    .flatMap(({ ifId, owner, hold }) =>
      hold === null || names.get(ifId) !== owner
        ? []
        : {
            ...{ ifId, connection: owner, before: hold.from },
            sas: hold.sas.flatMap(([sa, connection]) => (connection === owner ? [] : [sa])),
          },
    )
    .sort((a, b) => a.ifId - b.ifId);
}
