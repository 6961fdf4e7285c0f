import { createHmac, randomBytes } from "node:crypto";
import type { CheckedConnection, SaKeys } from "./connection.js";
import type { StateSpec } from "./messages.js";
import { Traffic } from "./statistics.js";

/** What the main thread keeps of an SA: never its key. */
export interface Sa {
  readonly id: number;
  readonly spi: number;
  readonly traffic: Traffic;
  /** False until a worker has taken its key. */
  installed: boolean;
}

export interface SaPair {
  readonly out: Sa;
  readonly in: Sa;
}

/**
 * Recognises SAs from one update to the next, so that those which stay keep their sequence numbers and replay windows.
 * An SA is the same when direction, SPI, key, suite and both addresses are: never may one key start its numbers again.
 */
export class SaRegistry {
  /** Keys are recognised by a keyed hash; this secret makes it useless outside this object. */
  readonly #secret = randomBytes(32);
  #known = new Map<string, Sa>();
  #nextId = 1;

  /** @returns the SAs of each connection, in order; `commit` or the next call decides which are remembered */
  resolve(connections: readonly CheckedConnection[]): { readonly pairs: SaPair[]; commit(): void } {
    const next = new Map<string, Sa>();
    const find = (connection: CheckedConnection, direction: "out" | "in"): Sa => {
      const identity = this.#identity(connection, direction, connection[direction]);
      const sa = this.#known.get(identity) ?? {
        id: this.#nextId++,
        spi: connection[direction].spi,
        traffic: new Traffic(),
        installed: false,
      };
      next.set(identity, sa);
      return sa;
    };
    const pairs = connections.map((connection) => ({
      out: find(connection, "out"),
      in: find(connection, "in"),
    }));
    const commit = (): void => {
      this.#known = next;
    };
    return { pairs, commit };
  }

  #identity(connection: CheckedConnection, direction: string, { spi, key }: SaKeys): string {
    const { suite, localAddress, remoteAddress } = connection;
    const keyed = createHmac("sha256", this.#secret).update(key).digest("base64");
    return [direction, spi, suite, localAddress.text, remoteAddress.text, keyed].join(" ");
  }
}

/** The part of a worker's table that both directions share. Copies the key of an SA that is new to the worker. */
export function stateSpec(connection: CheckedConnection, direction: "out" | "in", sa: Sa): StateSpec {
  return {
    id: sa.id,
    ifId: connection.ifId,
    spi: sa.spi,
    suite: connection.suite,
    keymat: sa.installed ? null : new Uint8Array(connection[direction].key),
    local: connection.localAddress.text,
    remote: connection.remoteAddress.text,
    traffic: sa.traffic.memory,
  };
}
