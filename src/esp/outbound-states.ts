/** How a sender makes, changes and closes its states. */
export interface StateMaker<Spec, S, Fields> {
  /** What of a state every table says anew. */
  fields(spec: Spec): Fields;
  make(spec: Spec, fields: Fields): S;
  /** Must not fail. */
  change(state: S, fields: Fields): void;
  close(state: S): void;
}

/**
 * The outbound SAs of a sender. One SA is one object, whatever tables it is in: two would each count its sequence numbers,
 * and use each with its key twice.
 */
export class OutboundStates<Spec extends { readonly id: number }, S, Fields> {
  readonly #maker: StateMaker<Spec, S, Fields>;
  #current = new Map<number, S>();
  /** Those that only the table before has. */
  readonly #leaving = new Map<number, S>();

  constructor(maker: StateMaker<Spec, S, Fields>) {
    this.#maker = maker;
  }

  /** Those of the table in force, in its order. */
  get current(): Iterable<S> {
    return this.#current.values();
  }

  /** Whether a state is one of a table in use. */
  get areOpen(): (state: S) => boolean {
    const open = new Set([...this.#current.values(), ...this.#leaving.values()]);
    return (state) => open.has(state);
  }

  /**
   * Takes over the states of another table. A failure changes nothing.
   * @param stays whether an SA that is not among them is still needed, until `retire`; it is closed else
   */
  replace(specs: readonly Spec[], stays: (id: number) => boolean): void {
    const { fields, make, change, close } = this.#maker;
    const next = new Map<number, S>();
    const made: S[] = [];
    const changes: [S, Fields][] = [];
    try {
      for (const spec of specs) {
        const known = this.#current.get(spec.id) ?? this.#leaving.get(spec.id);
        const said = fields(spec);
        if (known === undefined) made.push(make(spec, said));
        else changes.push([known, said]);
        next.set(spec.id, known ?? (made.at(-1) as S));
      }
    } catch (error) {
      for (const state of made) close(state);
      throw error;
    }
    for (const [state, said] of changes) change(state, said);
    for (const [id, state] of [...this.#leaving, ...this.#current]) {
      this.#leaving.delete(id);
      if (next.has(id)) continue;
      if (stays(id)) this.#leaving.set(id, state);
      else close(state);
    }
    this.#current = next;
  }

  /** Closes what only the table before had. */
  retire(): void {
    for (const state of this.#leaving.values()) this.#maker.close(state);
    this.#leaving.clear();
  }

  close(): void {
    this.retire();
    for (const state of this.#current.values()) this.#maker.close(state);
  }
}
