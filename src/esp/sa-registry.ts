import { createHmac, randomBytes } from "node:crypto";
import { type CheckedConnection, inboundKeys, type SaKeys } from "./connection.js";
import { hardLimits, type Stage } from "./lifetime.js";
import type { StateSpec } from "./messages.js";
import { Traffic } from "./statistics.js";

/** What the main thread keeps of an SA: never its key. */
export interface Sa {
  readonly id: number;
  readonly spi: number;
  readonly traffic: Traffic;
  /** Milliseconds since the epoch. */
  readonly added: number;
  /** Last reported. */
  stage: Stage;
  /** False until a worker has taken its key. */
  installed: boolean;
}

/** The SAs of one connection. */
export interface SaSet {
  readonly out: Sa;
  /** The connection's own first, then those that are valid besides. */
  readonly in: readonly [Sa, ...Sa[]];
}

/**
 * Recognises SAs from one update to the next, so that those which stay keep their sequence numbers and replay windows.
 * An SA is the same when direction, SPI, key, suite, mode, numbering and addresses are: never may one key start its
 * numbers again.
 */
export class SaRegistry {
  /** Keys are recognised by a keyed hash; this secret makes it useless outside this object. */
  readonly #secret = randomBytes(32);
  #known = new Map<string, Sa>();
  #nextId = 1;

  /** @returns the SAs of each connection, in order; `commit` or the next call decides which are remembered */
  resolve(connections: readonly CheckedConnection[]): { readonly sets: SaSet[]; commit(): void } {
    const next = new Map<string, Sa>();
    const find = (connection: CheckedConnection, direction: "out" | "in", keys: SaKeys): Sa =>
      this.#find(next, connection, direction, keys);
    const sets = connections.map((connection): SaSet => {
      const inbound = inboundKeys(connection).map((keys) => find(connection, "in", keys));
      return { out: find(connection, "out", connection.out), in: inbound as [Sa, ...Sa[]] };
    });
    const commit = (): void => {
      this.#known = next;
    };
    return { sets, commit };
  }

  /** Adds one SA to those that are remembered, or finds it there. */
  add(connection: CheckedConnection, direction: "out" | "in", keys: SaKeys): Sa {
    return this.#find(this.#known, connection, direction, keys);
  }

  #find(into: Map<string, Sa>, connection: CheckedConnection, direction: "out" | "in", keys: SaKeys): Sa {
    const identity = this.#identity(connection, direction, keys);
    const sa = this.#known.get(identity) ?? {
      id: this.#nextId++,
      spi: keys.spi,
      traffic: new Traffic(),
      added: Date.now(),
      stage: "valid",
      installed: false,
    };
    into.set(identity, sa);
    return sa;
  }

  /** Forgets all others: were one of them added again, it would be a new one. */
  retain(used: ReadonlySet<Sa>): void {
    this.#known = new Map([...this.#known].filter(([, sa]) => used.has(sa)));
  }

  #identity(connection: CheckedConnection, direction: string, { spi, key }: SaKeys): string {
    const { suite, mode, esn, inner, localAddress, remoteAddress } = connection;
    const keyed = createHmac("sha256", this.#secret).update(key).digest("base64");
    return JSON.stringify([
      direction,
      spi,
      suite,
      mode,
      esn,
      inner,
      localAddress.text,
      remoteAddress.text,
      keyed,
    ]);
  }
}

/** The part of a worker's table that both directions share. Copies the key of an SA that is new to the worker. */
export function stateSpec(
  connection: CheckedConnection,
  { key }: SaKeys,
  sa: Sa,
): Omit<StateSpec, "offload"> {
  const { ifId, mode, suite, esn, inner, lifetime, localAddress, remoteAddress } = connection;
  return {
    id: sa.id,
    ifId,
    spi: sa.spi,
    mode,
    suite,
    esn,
    inner,
    keymat: sa.installed ? null : new Uint8Array(key),
    local: localAddress.text,
    remote: remoteAddress.text,
    traffic: sa.traffic.memory,
    limits: hardLimits(lifetime),
  };
}
