import { parseAddress } from "../sys/sockaddr.js";
import type { EspAddress } from "./esp-packet.js";

type Direction = "in" | "out";

/** What a packet's comment is made from. Keys have no place here. */
export interface CapturedSa {
  readonly connection: string;
  readonly ifId: number;
  readonly direction: Direction;
  /** Outer address. */
  readonly destination: string;
  /** Host byte order. */
  readonly spi: number;
  /** UDP ports. */
  readonly sourcePort: number;
  readonly destinationPort: number;
}

/** The SAs of an interface, by what packets show of them. */
export class KnownSas {
  /** UDP ports of the encapsulation. */
  readonly ports: ReadonlySet<number>;
  readonly #byAddress: ReadonlyMap<string, CapturedSa>;
  readonly #byIfId = new Map<string, CapturedSa[]>();

  constructor(sas: readonly CapturedSa[]) {
    this.ports = new Set(sas.flatMap(({ sourcePort, destinationPort }) => [sourcePort, destinationPort]));
    this.#byAddress = new Map(
      sas.map((sa) => {
        const { bytes: destination } = parseAddress(sa.destination);
        return [addressKey(sa.direction, { destination, spi: sa.spi }), sa];
      }),
    );
    for (const sa of sas) {
      const key = `${sa.direction} ${sa.ifId}`;
      this.#byIfId.set(key, [...(this.#byIfId.get(key) ?? []), sa]);
    }
  }

  /** The SA of an ESP packet. An SPI alone is not enough: each destination has its own. */
  of(direction: Direction, address: EspAddress): CapturedSa | undefined {
    return this.#byAddress.get(addressKey(direction, address));
  }

  /** Those that an inner packet may have been in: several inbound ones while a rekey is under way. */
  candidates(direction: Direction, ifId: number): readonly CapturedSa[] {
    return this.#byIfId.get(`${direction} ${ifId}`) ?? [];
  }
}

const addressKey = (direction: Direction, { destination, spi }: EspAddress): string =>
  `${direction} ${spi} ${Buffer.from(destination).toString("hex")}`;
