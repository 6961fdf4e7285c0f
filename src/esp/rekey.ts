import { type CheckedConnection, ConnectionError, inboundKeys, type SaKeys } from "./connection.js";

/** One step of a rekey; the order that loses nothing is: add inbound at both ends, then switch, then remove. */
export type Rekey =
  /** Accepts packets of one more inbound SA. */
  | { readonly step: "add"; readonly sa: SaKeys }
  /** Sends with another outbound SA. */
  | { readonly step: "switch"; readonly sa: SaKeys }
  /** Accepts no more packets of an inbound SA. */
  | { readonly step: "remove"; readonly spi: number };

/** The connection after it. @throws ConnectionError when the last inbound SA would go, or there is none of that SPI */
export function rekeyed(connection: CheckedConnection, change: Rekey): CheckedConnection {
  if (change.step === "switch") return { ...connection, out: change.sa };
  if (change.step === "add") return { ...connection, alsoIn: [...connection.alsoIn, change.sa] };
  const left = inboundKeys(connection).filter(({ spi }) => spi !== change.spi);
  const [first, ...others] = left;
  if (left.length === connection.alsoIn.length + 1)
    throw new ConnectionError(
      connection.ifId,
      `there is no inbound SA with SPI 0x${change.spi.toString(16)}`,
    );
  if (first === undefined)
    throw new ConnectionError(connection.ifId, "this is its only inbound SA; add another one first");
  return { ...connection, in: first, alsoIn: others };
}
