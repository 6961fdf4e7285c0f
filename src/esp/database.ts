/**
 * SAD and SPD (RFC 4301 section 4.4) with the semantics of net/xfrm/xfrm_policy.c and xfrm_state.c: the interface id is
 * part of every lookup; policies of one if_id and direction are asked in the order of their priority; a policy's template
 * names mode and endpoints, and a state serves it only when these AND the if_id are the same.
 */
import { NumberTable } from "../sys/number-table.js";
import type { Mode } from "./packet.js";
import { isAny, type Selector, SelectorTest } from "./selector.js";

export interface Template {
  readonly mode: Mode;
  /** Endpoints, as canonical address text. */
  readonly local: string;
  readonly remote: string;
}

export interface Policy {
  readonly ifId: number;
  readonly direction: "in" | "out";
  readonly selector: Selector;
  /** The lowest is asked first; of equals, the one given first. */
  readonly priority: number;
  /** Null blocks. */
  readonly template: Template | null;
}

export interface State extends Template {
  readonly ifId: number;
  /** Host byte order. */
  readonly spi: number;
}

const serves = (state: State, ifId: number, template: Template): boolean =>
  state.ifId === ifId &&
  state.mode === template.mode &&
  state.local === template.local &&
  state.remote === template.remote;

/** A policy as the packet path asks it: one of a list, as an array would be two more cache misses for each of many SAs. */
interface Asked<Self> {
  /** Null takes every packet. */
  readonly test: SelectorTest | null;
  /** The policy to ask where this one does not take the packet. */
  readonly next: Self | null;
}

export interface OutboundEntry<S extends State> extends Asked<OutboundEntry<S>> {
  readonly blocks: boolean;
  /** The newest state that serves the template, null where there is none. */
  state: S | null;
}

/** if_id to the first of its policies. */
export type OutboundTable<S extends State> = NumberTable<OutboundEntry<S>>;

/** @param states of several that serve one template, the last is taken: the kernel's newest */
export function outboundTable<S extends State>(
  policies: readonly Policy[],
  states: readonly S[],
): OutboundTable<S> {
  const statesOf = byIfId(states);
  const asked = inOrder(policies, "out").map(
    ([ifId, own]) =>
      [
        ifId,
        listOf<Policy, OutboundEntry<S>>(own, (policy, next) => ({
          test: testOf(policy),
          next,
          blocks: policy.template === null,
          state: (statesOf.get(ifId) ?? []).findLast((state) => isServed(state, policy)) ?? null,
        })),
      ] as const,
  );
  return new NumberTable(asked.flatMap(([ifId, first]) => (first === null ? [] : [[ifId, first]])));
}

/** Takes states out of a table that stays in use. */
export function withdrawAllBut<S extends State>(
  table: OutboundTable<S>,
  isKept: (state: S) => boolean,
): void {
  for (const first of table.values())
    for (let entry: OutboundEntry<S> | null = first; entry !== null; entry = entry.next)
      if (entry.state !== null && !isKept(entry.state)) entry.state = null;
}

/** What the inbound policy check says of a packet of a state. */
export type Verdict = "accept" | "block" | "template-mismatch";

export interface InboundCheck extends Asked<InboundCheck> {
  readonly verdict: Verdict;
}

/** One for all states of which any packet gets the verdict. */
const FOR_ALL: Readonly<Record<Verdict, InboundCheck>> = {
  accept: { test: null, next: null, verdict: "accept" },
  block: { test: null, next: null, verdict: "block" },
  "template-mismatch": { test: null, next: null, verdict: "template-mismatch" },
};

export interface InboundEntry<S extends State> {
  readonly state: S;
  /** The first policy of the state's if_id; a packet that none takes is refused. */
  readonly check: InboundCheck | null;
}

/** Inbound lookup: destination address, then SPI. The protocol is always ESP. */
export type InboundTable<S extends State> = ReadonlyMap<string, StatesBySpi<S>>;

export type StatesBySpi<S extends State> = NumberTable<InboundEntry<S>>;

/** @param destinationOf what a state's packets are sent to; its address if left out */
export function inboundTable<S extends State>(
  policies: readonly Policy[],
  states: readonly S[],
  destinationOf: (state: S) => string = ({ local }) => local,
): InboundTable<S> {
  const policiesOf = new Map(inOrder(policies, "in"));
  const table = new Map<string, Map<number, InboundEntry<S>>>();
  for (const state of states) {
    const check = listOf<Policy, InboundCheck>(policiesOf.get(state.ifId) ?? [], (policy, next) => {
      const [test, verdict] = [testOf(policy), verdictOn(state, policy)];
      return test === null ? FOR_ALL[verdict] : { test, next, verdict };
    });
    const destination = destinationOf(state);
    const bySpi = table.get(destination) ?? new Map<number, InboundEntry<S>>();
    table.set(destination, bySpi.set(state.spi, { state, check }));
  }
  return new Map([...table].map(([destination, bySpi]) => [destination, new NumberTable(bySpi)]));
}

const testOf = ({ selector }: Policy): SelectorTest | null =>
  isAny(selector) ? null : new SelectorTest(selector);

const isServed = (state: State, { ifId, template }: Policy): boolean =>
  template !== null && serves(state, ifId, template);

function verdictOn(state: State, policy: Policy): Verdict {
  if (policy.template === null) return "block";
  return isServed(state, policy) ? "accept" : "template-mismatch";
}

function byIfId<T extends { readonly ifId: number }>(items: readonly T[]): Map<number, T[]> {
  const table = new Map<number, T[]>();
  for (const item of items) {
    const same = table.get(item.ifId);
    if (same === undefined) table.set(item.ifId, [item]);
    else same.push(item);
  }
  return table;
}

/** The policies of a direction by if_id, each if_id's in the order in which they are asked. */
function inOrder(policies: readonly Policy[], direction: Policy["direction"]): [number, Policy[]][] {
  const asked = policies
    .filter((each) => each.direction === direction)
    .toSorted((a, b) => a.priority - b.priority);
  return [...byIfId(asked)];
}

/** Makes a list out of items, the last first. @returns its first entry, null where there is none */
function listOf<T, E>(items: readonly T[], make: (item: T, next: E | null) => E): E | null {
  return items.reduceRight((next: E | null, item) => make(item, next), null);
}
