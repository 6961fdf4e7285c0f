/**
 * SAD and SPD (RFC 4301 section 4.4) as far as steering needs them: the interface id is part of both lookups, as in
 * net/xfrm/xfrm_policy.c. A policy's template names the tunnel's endpoints; a state serves it only when the endpoints
 * AND the if_id are the same.
 */
export interface Policy {
  readonly ifId: number;
  /** Tunnel endpoints of the policy's template, as canonical address text. */
  readonly local: string;
  readonly remote: string;
}

export interface State {
  readonly ifId: number;
  readonly spi: number;
  /** Tunnel endpoints. */
  readonly local: string;
  readonly remote: string;
}

const serves = (state: State, policy: Policy): boolean =>
  state.ifId === policy.ifId && state.local === policy.local && state.remote === policy.remote;

/** Outbound lookup: if_id to its policy's state, or null where a policy has no state. */
export function outboundTable<S extends State>(
  policies: readonly Policy[],
  states: readonly S[],
): ReadonlyMap<number, S | null> {
  const byIfId = new Map(states.map((state) => [state.ifId, state]));
  return new Map(
    policies.map((policy) => {
      const state = byIfId.get(policy.ifId);
      return [policy.ifId, state !== undefined && serves(state, policy) ? state : null];
    }),
  );
}

/** What the inbound policy check says of every packet of a state. */
export type Verdict = "accept" | "no-policy" | "template-mismatch";

export interface InboundEntry<S extends State> {
  readonly state: S;
  readonly verdict: Verdict;
}

/** Inbound lookup: destination address, then SPI. The protocol is always ESP. */
export type InboundTable<S extends State> = ReadonlyMap<string, ReadonlyMap<number, InboundEntry<S>>>;

export function inboundTable<S extends State>(
  policies: readonly Policy[],
  states: readonly S[],
): InboundTable<S> {
  const byIfId = new Map(policies.map((policy) => [policy.ifId, policy]));
  const table = new Map<string, Map<number, InboundEntry<S>>>();
  for (const state of states) {
    const policy = byIfId.get(state.ifId);
    const verdict =
      policy === undefined ? "no-policy" : serves(state, policy) ? "accept" : "template-mismatch";
    const bySpi = table.get(state.local) ?? new Map<number, InboundEntry<S>>();
    table.set(state.local, bySpi.set(state.spi, { state, verdict }));
  }
  return table;
}
