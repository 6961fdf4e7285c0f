import type { ExpireEvent, ShownPolicy, ShownState } from "../../esp/index.js";

/** An ExpireEvent as it is kept for those who ask. */
export interface KeptEvent extends ExpireEvent {
  /** Counts from 1; who has seen some asks for those behind. */
  readonly number: number;
  /** ISO 8601. */
  readonly time: string;
}

/** With the name of the connection that it belongs to. */
export type Named<T> = T & { readonly connection: string };

/** SAD, SPD and what they had to tell, of a running interface. There is no key in it. */
export interface XfrmDatabases {
  readonly states: readonly Named<ShownState>[];
  readonly policies: readonly Named<ShownPolicy>[];
  /** The last EVENTS_KEPT. */
  readonly events: readonly Named<KeptEvent>[];
}

/** A step of a rekey by the connection's name; the key goes beside it, and none with "remove". */
export interface RekeyRequest {
  readonly connection: string;
  readonly step: "add" | "switch" | "remove";
  readonly spi: number;
}

const EVENTS_KEPT = 1000;

/** The last events of a data path. */
export class EventLog {
  readonly #events: KeptEvent[] = [];
  #count = 0;

  add(event: ExpireEvent): void {
    this.#events.push({ ...event, number: ++this.#count, time: new Date().toISOString() });
    if (this.#events.length > EVENTS_KEPT) this.#events.shift();
  }

  get events(): readonly KeptEvent[] {
    return this.#events;
  }
}
