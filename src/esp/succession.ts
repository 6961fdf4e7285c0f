import type { StateSpec, Table } from "./messages.js";
import type { Sa, SaSet } from "./sa-registry.js";

/**
 * The SAs of an update whose key is that of another SA yet, of those in force: such as those of a connection that gets
 * another address or mode, and keeps its keys. They go on from the other's last number, and so come into force only
 * when the workers have let go of the other: in two steps.
 */
export class Succession {
  /** To its predecessor. */
  readonly #heirs: ReadonlyMap<Sa, Sa>;
  readonly #ids: ReadonlySet<number>;

  constructor(before: Iterable<SaSet>, after: readonly SaSet[]) {
    const byKey = new Map([...before].flatMap(all).map((sa) => [sa.keyed, sa]));
    const heirs = after
      .flatMap(all)
      .filter(({ installed }) => !installed)
      .flatMap((sa) => {
        const predecessor = byKey.get(sa.keyed);
        return predecessor === undefined ? [] : [[sa, predecessor] as const];
      });
    this.#heirs = new Map(heirs);
    this.#ids = new Set(heirs.map(([{ id }]) => id));
  }

  get isEmpty(): boolean {
    return this.#ids.size === 0;
  }

  /** The first step's table: neither an heir nor its predecessor is in it, nor in what stays of the table before. */
  without<S extends StateSpec>(table: Table<S>): Table<S> {
    const without = [...this.#heirs.values()].map(({ id }) => id);
    return {
      ...table,
      states: table.states.filter(({ id }) => !this.#ids.has(id)),
      stays: table.stays && { without },
    };
  }

  /** The second step's table: the workers have all but the heirs. */
  complete<S extends StateSpec>(table: Table<S>): Table<S> {
    const states = table.states.map((state) =>
      this.#ids.has(state.id) ? state : { ...state, keymat: null },
    );
    return { ...table, states };
  }

  /** Between both: the predecessors' numbers are their last now. */
  inherit(): void {
    for (const [heir, { traffic }] of this.#heirs) heir.traffic.startFrom(traffic.sequence);
  }
}

const all = ({ out, in: inbound }: SaSet): Sa[] => [out, ...inbound];
