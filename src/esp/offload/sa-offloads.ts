import { type CheckedConnection, ConnectionError } from "../connection.js";
import type { Sa, SaSet } from "../sa-registry.js";
import type { OffloadDirection, OffloadState } from "./contract.js";
import { NO_DEVICE, type OffloadAnswer, type OffloadProvider } from "./provider.js";

/** What became of the offload requests of a data path's SAs, by the SA's id. */
export type OffloadAnswers = ReadonlyMap<number, OffloadAnswer>;

/** Keeps devices and SAs together from one update to the next: an SA is offered to its device once. */
export class SaOffloads {
  readonly #provider: OffloadProvider | null;
  #answers: OffloadAnswers = new Map();

  constructor(provider: OffloadProvider | null) {
    this.#provider = provider;
  }

  get answers(): OffloadAnswers {
    return this.#answers;
  }

  /**
   * Offers the new SAs among these to their devices. `keep` or `drop` decides what becomes of that.
   * @throws ConnectionError where a connection requires what its device refuses
   */
  offer(connections: readonly CheckedConnection[], sets: readonly SaSet[]): OffloadAnswers {
    const next = new Map<number, OffloadAnswer>();
    try {
      for (const [index, connection] of connections.entries()) {
        const set = sets[index];
        if (set === undefined || connection.offload === null) continue;
        for (const sa of set.in) next.set(sa.id, this.#offer(connection, "in", sa));
        next.set(set.out.id, this.#offer(connection, "out", set.out));
      }
    } catch (error) {
      this.drop(next);
      throw error;
    }
    return next;
  }

  /** The SAs are in force: those of before that are not among them leave their devices. */
  keep(next: OffloadAnswers): void {
    this.#removeAll(this.#answers, next);
    this.#answers = next;
  }

  /** The SAs of before stay in force. */
  drop(next: OffloadAnswers): void {
    this.#removeAll(next, this.#answers);
  }

  #removeAll(these: OffloadAnswers, but: OffloadAnswers): void {
    for (const [id, { spec }] of these) if (spec !== null && !but.has(id)) this.#provider?.remove(spec);
  }

  #offer(connection: CheckedConnection, direction: OffloadDirection, sa: Sa): OffloadAnswer {
    const { offload, ifId } = connection;
    const known = this.#answers.get(sa.id);
    if (known !== undefined || offload === null) return known ?? NO_DEVICE;
    const answer =
      this.#provider?.add(offload.device, offloadState(connection, direction, sa.spi)) ?? NO_DEVICE;
    if (offload.required && answer.spec === null)
      throw new ConnectionError(
        ifId,
        `its ${direction} SA 0x${sa.spi.toString(16)} is not offloaded to ${offload.device}: ${answer.reason}; ` +
          "leave `required` out to have software do what the device does not",
      );
    return answer;
  }
}

type Described = Pick<
  CheckedConnection,
  | "ifId"
  | "mode"
  | "suite"
  | "encapsulation"
  | "esn"
  | "replayWindow"
  | "padTo"
  | "offload"
  | "localAddress"
  | "remoteAddress"
>;

/** An SA of a connection as a driver sees it. */
export function offloadState(connection: Described, direction: OffloadDirection, spi: number): OffloadState {
  const { ifId, mode, suite, encapsulation, esn, replayWindow, padTo, offload } = connection;
  const ends = [connection.localAddress, connection.remoteAddress] as const;
  const [source, destination] = direction === "out" ? ends : [ends[1], ends[0]];
  return {
    direction,
    type: offload?.type ?? "crypto",
    spi,
    source: source.text,
    destination: destination.text,
    family: source.bytes.length === 4 ? 4 : 6,
    mode,
    suite,
    encapsulation,
    esn,
    replayWindow,
    // A connection's policies and SAs belong together as those of one reqid do.
    reqid: ifId,
    ifId,
    tfcpad: padTo,
  };
}
