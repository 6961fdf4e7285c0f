import type { BpfMap, MapKey } from "libbpf-ts";

/** The queue of each key, by a name of the key. */
export type Wanted = ReadonlyMap<string, { readonly key: MapKey; readonly queue: number }>;

/** A map of the kernel to queues, changed in steps: what may fail comes first, and can be taken back. */
export class QueueMap {
  readonly #map: BpfMap;
  #present: Wanted = new Map();

  constructor(map: BpfMap) {
    this.#map = map;
  }

  /** Adds the keys that are not there. @returns what takes them out again */
  add(wanted: Wanted): () => void {
    const added: MapKey[] = [];
    const undo = (): void => {
      for (const key of added) this.#map.delete(key);
    };
    try {
      for (const [name, { key, queue }] of wanted) {
        if (this.#present.has(name)) continue;
        this.#map.update(key, Uint32Array.of(queue));
        added.push(key);
      }
    } catch (error) {
      undo();
      throw error;
    }
    return undo;
  }

  /** After `add` of the same: changes the others. */
  lead(wanted: Wanted): void {
    for (const [name, { key, queue }] of wanted)
      if ((this.#present.get(name)?.queue ?? queue) !== queue) this.#map.update(key, Uint32Array.of(queue));
  }

  /** After that: deletes what is not wanted any more. */
  forget(wanted: Wanted): void {
    for (const [name, { key }] of this.#present) if (!wanted.has(name)) this.#map.delete(key);
    this.#present = wanted;
  }
}
