/**
 * SAD and SPD (RFC 4301 section 4.4) with the semantics of net/xfrm/xfrm_policy.c and xfrm_state.c: the interface id is
 * part of every lookup; policies of one if_id and direction are asked in the order of their priority; a policy's template
 * names mode and endpoints, and a state serves it only when these AND the if_id are the same.
 */
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

/** A policy as the packet path asks it. */
interface Asked {
  /** Null takes every packet. */
  readonly test: SelectorTest | null;
}

export interface OutboundEntry<S extends State> extends Asked {
  readonly blocks: boolean;
  /** The newest state that serves the template, null where there is none. */
  readonly state: S | null;
}

/** if_id to its policies in order. */
export type OutboundTable<S extends State> = ReadonlyMap<number, readonly OutboundEntry<S>[]>;

/** @param states of several that serve one template, the last is taken: the kernel's newest */
export function outboundTable<S extends State>(
  policies: readonly Policy[],
  states: readonly S[],
): OutboundTable<S> {
  const statesOf = byIfId(states);
  return ordered(policies, "out", (policy) => ({
    test: testOf(policy),
    blocks: policy.template === null,
    state: (statesOf.get(policy.ifId) ?? []).findLast((state) => isServed(state, policy)) ?? null,
  }));
}

/** What the inbound policy check says of a packet of a state. */
export type Verdict = "accept" | "block" | "template-mismatch";

export interface InboundCheck extends Asked {
  readonly verdict: Verdict;
}

export interface InboundEntry<S extends State> {
  readonly state: S;
  /** The policies of the state's if_id in order; a packet of which none takes is refused. */
  readonly checks: readonly InboundCheck[];
}

/** Inbound lookup: destination address, then SPI. The protocol is always ESP. */
export type InboundTable<S extends State> = ReadonlyMap<string, ReadonlyMap<number, InboundEntry<S>>>;

/** @param destinationOf what a state's packets are sent to; its address if left out */
export function inboundTable<S extends State>(
  policies: readonly Policy[],
  states: readonly S[],
  destinationOf: (state: S) => string = ({ local }) => local,
): InboundTable<S> {
  const policiesOf = byIfId(policies);
  const table = new Map<string, Map<number, InboundEntry<S>>>();
  for (const state of states) {
    const checks = ordered(policiesOf.get(state.ifId) ?? [], "in", (policy) => ({
      test: testOf(policy),
      verdict: verdictOn(state, policy),
    }));
    const destination = destinationOf(state);
    const bySpi = table.get(destination) ?? new Map<number, InboundEntry<S>>();
    table.set(destination, bySpi.set(state.spi, { state, checks: checks.get(state.ifId) ?? [] }));
  }
  return table;
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

function ordered<E>(
  policies: readonly Policy[],
  direction: Policy["direction"],
  entry: (policy: Policy) => E,
): Map<number, E[]> {
  const inOrder = policies
    .filter((each) => each.direction === direction)
    .toSorted((a, b) => a.priority - b.priority);
  return new Map([...byIfId(inOrder)].map(([ifId, same]) => [ifId, same.map(entry)]));
}
