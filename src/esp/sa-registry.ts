import { createHmac, randomBytes } from "node:crypto";
import { copyOfSecret } from "../sys/secrets.js";
import { type CheckedConnection, ConnectionError, inboundKeys, type SaKeys } from "./connection.js";
import { hardLimits, type Stage } from "./lifetime.js";
import type { StateSpec } from "./messages.js";
import { Traffic, TrafficRows } from "./traffic.js";

/** What the main thread keeps of an SA: never its key. */
export interface Sa {
  readonly id: number;
  readonly spi: number;
  /** A keyed hash of its key, see SaRegistry. */
  readonly keyed: string;
  readonly traffic: Traffic;
  /** Milliseconds since the epoch, to be shown. */
  readonly added: number;
  /** By the Clock. */
  readonly addedAt: number;
  /** Last reported. */
  stage: Stage;
  /** False until a worker has taken its key. */
  installed: boolean;
}

/** Milliseconds since some moment, whatever becomes of the wall clock. */
export type Clock = () => number;

/** The SAs of one connection. */
export interface SaSet {
  readonly out: Sa;
  /** The connection's own first, then those that are valid besides. */
  readonly in: readonly [Sa, ...Sa[]];
}

/**
 * Recognises SAs from one update to the next, so that those which stay keep their sequence numbers and replay windows.
 * An SA is the same when direction, SPI, key, suite, mode, numbering and addresses are. Another one with the same key goes
 * on from the last number, also when the first is gone since long: never may one key start its numbers again (RFC 4303
 * sections 3.3.3 and 3.4.3).
 */
export class SaRegistry {
  /** Keys are recognised by a keyed hash; this secret makes it useless outside this object. */
  readonly #secret = randomBytes(32);
  #known = new Map<string, Sa>();
  /** The last number of each key that was used and is not any more, about 100 bytes each, until the process ends. */
  readonly #retired = new Map<string, number>();
  readonly #clock: Clock;
  readonly #rows = new TrafficRows();
  #nextId = 1;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /**
   * @returns the SAs of each connection, in order; `commit`, once the workers have let go of all others, or the next call
   * decides which are remembered
   */
  resolve(connections: readonly CheckedConnection[]): { readonly sets: SaSet[]; commit(): void } {
    const next = new Map<string, Sa>();
    const find = (connection: CheckedConnection, direction: "out" | "in", keys: SaKeys): Sa =>
      this.#find(next, connection, direction, keys);
    const sets = connections.map((connection): SaSet => {
      const inbound = inboundKeys(connection).map((keys) => find(connection, "in", keys));
      return { out: find(connection, "out", connection.out), in: inbound as [Sa, ...Sa[]] };
    });
    return { sets, commit: () => this.#forgetAllBut(next) };
  }

  /** Adds one SA to those that are remembered, or finds it there. */
  add(connection: CheckedConnection, direction: "out" | "in", keys: SaKeys): Sa {
    return this.#find(this.#known, connection, direction, keys);
  }

  #find(into: Map<string, Sa>, connection: CheckedConnection, direction: "out" | "in", keys: SaKeys): Sa {
    const keyed = createHmac("sha256", this.#secret).update(keys.key).digest("base64");
    const identity = identityOf(connection, direction, keys.spi, keyed);
    const sa = this.#known.get(identity) ?? this.#make(keys.spi, keyed);
    into.set(identity, sa);
    return sa;
  }

  #make(spi: number, keyed: string): Sa {
    const traffic = new Traffic(this.#rows.take());
    traffic.startFrom(this.#retired.get(keyed) ?? 0);
    return {
      id: this.#nextId++,
      spi,
      keyed,
      traffic,
      added: Date.now(),
      addedAt: this.#clock(),
      stage: "valid",
      installed: false,
    };
  }

  /** Forgets all others but for their numbers. The workers must have let go of them: these are the last then. */
  retain(used: ReadonlySet<Sa>): void {
    this.#forgetAllBut(new Map([...this.#known].filter(([, sa]) => used.has(sa))));
  }

  #forgetAllBut(next: Map<string, Sa>): void {
    for (const [identity, { keyed, traffic }] of this.#known) {
      const last = Math.max(traffic.sequence, this.#retired.get(keyed) ?? 0);
      if (last > 0 && !next.has(identity)) this.#retired.set(keyed, last);
    }
    this.#known = next;
  }
}

function identityOf(connection: CheckedConnection, direction: string, spi: number, keyed: string): string {
  const { suite, mode, esn, inner, localAddress, remoteAddress } = connection;
  const ends = [localAddress.text, remoteAddress.text];
  return JSON.stringify([direction, spi, suite, mode, esn, inner, ...ends, keyed]);
}

/**
 * Two SAs with one key repeat nonces (RFC 4106 section 3.1).
 * @param sets by if_id; an SA may be in several
 * @throws ConnectionError, which speaks of the SA that is new and names the other one
 */
export function demandOwnKeys(sets: readonly (readonly [number, SaSet])[]): void {
  const named = sets.flatMap(([ifId, { out, in: inbound }]) => [
    { ifId, sa: out, name: `outbound SA 0x${out.spi.toString(16)}` },
    ...inbound.map((sa) => ({ ifId, sa, name: `inbound SA 0x${sa.spi.toString(16)}` })),
  ]);
  const byKey = new Map<string, (typeof named)[number]>();
  for (const each of named.toSorted((a, b) => Number(b.sa.installed) - Number(a.sa.installed))) {
    const other = byKey.get(each.sa.keyed) ?? each;
    if (other.sa !== each.sa)
      throw new ConnectionError(
        each.ifId,
        `the key of its ${each.name} is that of if_id ${other.ifId}'s ${other.name} too; give each SA its own`,
      );
    byKey.set(each.sa.keyed, each);
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
    keymat: sa.installed ? null : copyOfSecret(key),
    local: localAddress.text,
    remote: remoteAddress.text,
    traffic: sa.traffic.row,
    limits: hardLimits(lifetime),
  };
}
