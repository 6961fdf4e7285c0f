import { randomInt } from "node:crypto";
import { EPOCHS } from "../../esp/index.js";

interface Named {
  readonly name: string;
  readonly ifId: number;
}

/** If_ids of connections that are gone are remembered until there are so many more of them than of others. */
const REMEMBERED = 4096;

/**
 * The epochs of a TUN device's frames: within one, an if_id belongs to one connection. Packets wait in the device's queue,
 * and programs and engine cannot change in one moment; so where an if_id goes to another connection, a new epoch begins,
 * and what is of the one before is never taken for the other's.
 *
 * The first is random: frames that an engine left in the queue when it was killed are of another, but for one time in EPOCHS.
 */
export class Epochs {
  #current = randomInt(EPOCHS);
  /** A number that was once given is not given again soon, also where its policy never came into force. */
  #last = this.#current;
  /** The connection of each if_id that the epoch has had, also where the connection is gone. */
  #owners = new Map<number, string>();

  /**
   * The epoch for a policy that is to come into force.
   * @returns the number; `begin`, to be called when it has
   */
  for(connections: readonly Named[]): { readonly epoch: number; begin(): void } {
    const owners = new Map(connections.map(({ ifId, name }) => [ifId, name]));
    const changes = connections.some(({ ifId, name }) => (this.#owners.get(ifId) ?? name) !== name);
    const isNew = changes || this.#owners.size > 2 * connections.length + REMEMBERED;
    if (isNew) this.#last = (this.#last + 1) % EPOCHS;
    const epoch = isNew ? this.#last : this.#current;
    return {
      epoch,
      begin: () => {
        this.#owners = isNew ? owners : new Map([...this.#owners, ...owners]);
        this.#current = epoch;
      },
    };
  }
}
