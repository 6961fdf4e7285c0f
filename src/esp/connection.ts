import { type Address, parseAddress } from "../sys/sockaddr.js";
import { endpointProblems, outerProblems } from "./endpoints.js";
import type { Lifetime } from "./lifetime.js";
import type { OffloadRequest } from "./offload/provider.js";
import type { Encapsulation, Mode } from "./packet.js";
import { ANY_SELECTOR, type Selector } from "./selector.js";
import { keymatParts, keymatSize, SUITE_NAMES, SUITES, type SuiteName } from "./suite.js";

export interface SaKeys {
  /** Security parameters index, host byte order, 256 to 2^32 - 1. */
  readonly spi: number;
  /** Keying material, keymatSize(suite) bytes: the encryption key, and behind it the salt or the integrity key. */
  readonly key: Uint8Array;
}

/** A policy of a connection; its template, where it allows, is the connection's mode and endpoints. */
export interface ConnectionPolicy {
  readonly direction: "in" | "out";
  readonly selector: Selector;
  readonly priority: number;
  readonly action: "allow" | "block";
}

/** One manually keyed connection: policies, an outbound SA, and one or more inbound ones. */
export interface ConnectionConfig {
  readonly ifId: number;
  /** ifindex that the outer route is bound to where a packet's metadata names none; 0 for any. */
  readonly link: number;
  /** Tunnel if left out. */
  readonly mode?: Mode;
  /** BEET only: addresses of the inner packets at this and at the other end, of one family. */
  readonly inner?: { readonly local: string; readonly remote: string } | null;
  /** UDP if left out. */
  readonly encapsulation?: Encapsulation;
  /** Outer addresses, both IPv4 or both IPv6. */
  readonly local: string;
  readonly localPort: number;
  readonly remote: string;
  readonly remotePort: number;
  readonly suite: SuiteName;
  readonly out: SaKeys;
  readonly in: SaKeys;
  /** Inbound SAs that are valid besides: while a rekey is under way, the one before or the one to come. */
  readonly alsoIn?: readonly SaKeys[];
  /** Extended sequence numbers (RFC 4304); false if left out. */
  readonly esn?: boolean;
  /** Anti-replay window in packets, 32 to 4096. */
  readonly replayWindow: number;
  /** Tunnel mode only: inner packets are padded to this many bytes (RFC 4303 section 2.7); 0 if left out. */
  readonly padTo?: number;
  /** Of each SA; none if left out. */
  readonly lifetime?: Lifetime;
  /** To have a device do the crypto, or all of it; none if left out. */
  readonly offload?: OffloadRequest | null;
  /** One for all packets in each direction if left out. */
  readonly policies?: readonly ConnectionPolicy[];
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
    for (const { key } of [connection.out, ...inboundKeys(connection)]) key.fill(0);
  }
}

export const inboundKeys = (connection: ConnectionConfig): readonly SaKeys[] => [
  connection.in,
  ...(connection.alsoIn ?? []),
];

/** A connection with its addresses parsed and what was left out filled in. */
export interface CheckedConnection extends Required<ConnectionConfig> {
  readonly localAddress: Address;
  readonly remoteAddress: Address;
}

const ANY_POLICIES: readonly ConnectionPolicy[] = (["out", "in"] as const).map((direction) => ({
  direction,
  selector: ANY_SELECTOR,
  priority: 0,
  action: "allow",
}));

const MAX_U32 = 0xffffffff;
/** RFC 4303 section 2.1: 0 never appears on the wire and 1 to 255 are reserved. */
const MIN_SPI = 256;
const MIN_REPLAY_WINDOW = 32;
const MAX_REPLAY_WINDOW = 4096;
/** Leaves room for the headers and the trailer in the largest IP packet. */
const MAX_PAD_TO = 65_000;

const within = (value: number, low: number, high: number): boolean =>
  Number.isInteger(value) && value >= low && value <= high;

function checkOne(connection: ConnectionConfig): CheckedConnection {
  const { ifId, link, local, localPort, remote, remotePort, suite, replayWindow } = connection;
  const { mode = "tunnel", encapsulation = "udp", esn = false, padTo = 0 } = connection;
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
  const pair = (from: string, to: string): [Address, Address] => {
    const both: [Address, Address] = [address(from), address(to)];
    demand(both[0].family === both[1].family, `${from} and ${to} are of different address families`);
    return both;
  };
  demand(within(ifId, 1, MAX_U32), "an if_id is 1 to 4294967295");
  demand(within(link, 0, 0x7fffffff), `link ${link} is not an ifindex`);
  demand(Object.hasOwn(SUITES, suite), `suite "${suite}" is unknown; there is ${SUITE_NAMES.join(", ")}`);
  checkKeys(connection, demand);
  demand(within(localPort, 1, 65535), `local port ${localPort} is not between 1 and 65535`);
  demand(within(remotePort, 1, 65535), `remote port ${remotePort} is not between 1 and 65535`);
  demand(
    within(replayWindow, MIN_REPLAY_WINDOW, MAX_REPLAY_WINDOW),
    `a replay window of ${replayWindow} packets is not between ${MIN_REPLAY_WINDOW} and ${MAX_REPLAY_WINDOW}`,
  );
  demand(within(padTo, 0, MAX_PAD_TO), `packets cannot be padded to ${padTo} bytes; 0 to ${MAX_PAD_TO} can`);
  demand(
    padTo === 0 || mode === "tunnel",
    `${mode} mode has no padding: only an inner IP header tells where the packet ends (RFC 4303 section 2.7)`,
  );
  const [localAddress, remoteAddress] = pair(local, remote);
  for (const { message, hint } of outerProblems({ local: localAddress, remote: remoteAddress }, link !== 0))
    demand(false, `${message}; ${hint}`);
  demand(
    (mode === "beet") === (connection.inner != null),
    mode === "beet"
      ? "BEET needs the inner packets' addresses"
      : `${mode} mode has no inner addresses of its own`,
  );
  const inner = connection.inner ? pair(connection.inner.local, connection.inner.remote) : null;
  for (const { message, hint } of inner === null
    ? []
    : endpointProblems({ local: inner[0], remote: inner[1] }))
    demand(false, `inner ${message}; ${hint}`);
  return {
    ...connection,
    mode,
    encapsulation,
    esn,
    padTo,
    alsoIn: connection.alsoIn ?? [],
    lifetime: connection.lifetime ?? {},
    offload: connection.offload ?? null,
    policies: connection.policies ?? ANY_POLICIES,
    inner: inner === null ? null : { local: inner[0].text, remote: inner[1].text },
    localAddress,
    remoteAddress,
  };
}

function checkKeys(connection: ConnectionConfig, demand: (holds: boolean, message: string) => void): void {
  const { suite, out } = connection;
  const size = keymatSize(suite);
  for (const [direction, { spi, key }] of [
    ["out", out] as const,
    ...inboundKeys(connection).map((sa) => ["in", sa] as const),
  ]) {
    demand(
      within(spi, MIN_SPI, MAX_U32),
      `the ${direction} SPI ${spi} is not between ${MIN_SPI} and ${MAX_U32}`,
    );
    demand(
      key.length === size,
      `the ${direction} key has ${key.length} bytes; ${suite} takes ${size}, ${keymatParts(suite)}`,
    );
  }
}

/**
 * Checks connections one by one and against each other.
 * @throws ConnectionError, whose message holds no key
 */
export function checkConnections(connections: readonly ConnectionConfig[]): CheckedConnection[] {
  const ifIds = new Set<number>();
  const states = new Map<string, number>();
  /**
   * The SAD finds an SA by destination, SPI and protocol (RFC 4301 section 4.1). A link-local address is one destination
   * on all links, as in the kernel (net/xfrm/xfrm_state.c, __xfrm_state_lookup).
   */
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
    for (const { spi } of inboundKeys(connection)) claim(ifId, "in", spi, checked.localAddress);
    claim(ifId, "out", checked.out.spi, checked.remoteAddress);
    return checked;
  });
}
