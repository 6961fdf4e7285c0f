import { type Address, parseAddress } from "../sys/sockaddr.js";
import { keymatSize, SUITES, type SuiteName } from "./suite.js";

export interface SaKeys {
  /** Security parameters index, host byte order, 256 to 2^32 - 1. */
  readonly spi: number;
  /** Keying material: the key and behind it the 4-byte salt (RFC 4106 section 8.1): 20 or 36 bytes. */
  readonly key: Uint8Array;
}

/** One manually keyed connection: a policy and an SA in each direction, ESP in UDP, tunnel mode. */
export interface ConnectionConfig {
  readonly ifId: number;
  /** ifindex that the outer route is bound to where a packet's metadata names none; 0 for any. */
  readonly link: number;
  /** Outer addresses, both IPv4 or both IPv6. */
  readonly local: string;
  readonly localPort: number;
  readonly remote: string;
  readonly remotePort: number;
  readonly suite: SuiteName;
  readonly out: SaKeys;
  readonly in: SaKeys;
  /** Anti-replay window in packets, 32 to 4096. */
  readonly replayWindow: number;
}

/** A connection that the data path cannot serve. */
export class ConnectionError extends Error {
  override readonly name = "ConnectionError";
  readonly ifId: number;

  constructor(ifId: number, message: string) {
    super(`connection with if_id ${ifId}: ${message}`);
    this.ifId = ifId;
  }
}

/** Overwrites every key with zeros, in the caller's memory. */
export function wipeKeys(connections: readonly ConnectionConfig[]): void {
  for (const connection of connections) {
    connection.out.key.fill(0);
    connection.in.key.fill(0);
  }
}

/** A connection with its addresses parsed. */
export interface CheckedConnection extends ConnectionConfig {
  readonly localAddress: Address;
  readonly remoteAddress: Address;
}

const MAX_U32 = 0xffffffff;
/** RFC 4303 section 2.1: 0 never appears on the wire and 1 to 255 are reserved. */
const MIN_SPI = 256;
const MIN_REPLAY_WINDOW = 32;
const MAX_REPLAY_WINDOW = 4096;

const within = (value: number, low: number, high: number): boolean =>
  Number.isInteger(value) && value >= low && value <= high;

function checkOne(connection: ConnectionConfig): CheckedConnection {
  const { ifId, link, local, localPort, remote, remotePort, suite, replayWindow } = connection;
  const demand = (holds: boolean, message: string): void => {
    if (!holds) throw new ConnectionError(ifId, message);
  };
  const address = (text: string): Address => {
    try {
      return parseAddress(text);
    } catch (error) {
      throw new ConnectionError(ifId, (error as Error).message);
    }
  };
  demand(within(ifId, 1, MAX_U32), "an if_id is 1 to 4294967295");
  demand(within(link, 0, 0x7fffffff), `link ${link} is not an ifindex`);
  demand(
    Object.hasOwn(SUITES, suite),
    `suite "${suite}" is unknown; there is ${Object.keys(SUITES).join(", ")}`,
  );
  for (const [direction, { spi, key }] of [
    ["out", connection.out] as const,
    ["in", connection.in] as const,
  ]) {
    demand(
      within(spi, MIN_SPI, MAX_U32),
      `the ${direction} SPI ${spi} is not between ${MIN_SPI} and ${MAX_U32}`,
    );
    const size = keymatSize(suite);
    demand(
      key.length === size,
      `the ${direction} key has ${key.length} bytes; ${suite} takes ${size}, the key and a 4-byte salt`,
    );
  }
  demand(within(localPort, 1, 65535), `local port ${localPort} is not between 1 and 65535`);
  demand(within(remotePort, 1, 65535), `remote port ${remotePort} is not between 1 and 65535`);
  demand(
    within(replayWindow, MIN_REPLAY_WINDOW, MAX_REPLAY_WINDOW),
    `a replay window of ${replayWindow} packets is not between ${MIN_REPLAY_WINDOW} and ${MAX_REPLAY_WINDOW}`,
  );
  const checked = { ...connection, localAddress: address(local), remoteAddress: address(remote) };
  demand(
    checked.localAddress.family === checked.remoteAddress.family,
    `${local} and ${remote} are of different address families`,
  );
  return checked;
}

/**
 * Checks connections one by one and against each other.
 * @throws ConnectionError, whose message holds no key
 */
export function checkConnections(connections: readonly ConnectionConfig[]): CheckedConnection[] {
  const ifIds = new Set<number>();
  const states = new Map<string, number>();
  /** The SAD finds an SA by destination, SPI and protocol (RFC 4301 section 4.1). */
  const claim = (ifId: number, direction: "in" | "out", spi: number, destination: Address): void => {
    const key = `${direction} ${destination.text} ${spi}`;
    const other = states.get(key);
    if (other !== undefined) {
      throw new ConnectionError(
        ifId,
        `the ${direction} SPI ${spi} to ${destination.text} is that of if_id ${other} too; give each SA its own`,
      );
    }
    states.set(key, ifId);
  };
  return connections.map((connection) => {
    const checked = checkOne(connection);
    const { ifId } = checked;
    if (ifIds.has(ifId)) throw new ConnectionError(ifId, "another connection has the same if_id");
    ifIds.add(ifId);
    claim(ifId, "in", checked.in.spi, checked.localAddress);
    claim(ifId, "out", checked.out.spi, checked.remoteAddress);
    return checked;
  });
}
