import { randomBytes } from "node:crypto";
import type { ConnectionKeys } from "../../backends/userspace/keys.js";
import { formatAddress } from "../../config/address.js";
import type { Connection, EspConfig, Policy, Prefix } from "../../config/policy.js";
import { keymatSize } from "../../esp/suite.js";

/** One connection of a simulation: what both ends need of it. */
export interface Line {
  readonly connection: Connection;
  readonly esp: EspConfig;
  readonly keys: ConnectionKeys;
  /** Addresses of the inner packets, as text. */
  readonly source: string;
  readonly destination: string;
}

/** Inner source where the policy gives the interface no address. */
const SOURCE4 = "10.255.255.254";
const SOURCE6 = "fd00:ffff::fe";

/**
 * The connections that traffic can be sent through: those with SAs and an inner address to send to. Their keys are made
 * for the simulation; the policy's own stay closed.
 */
export function linesOf(policy: Policy): Line[] {
  return policy.connections.flatMap((connection) => {
    const { esp, subnets, name } = connection;
    if (esp === null) return [];
    const ends = innerEnds(esp, subnets[0], policy);
    if (ends === null) return [];
    const key = () => randomBytes(keymatSize(esp.suite));
    const keys = { connection: name, out: key(), in: key(), alsoIn: esp.alsoIn.map(key) };
    return [{ connection, esp, keys, ...ends }];
  });
}

function innerEnds(
  { mode, inner, local, remote }: EspConfig,
  subnet: Prefix | undefined,
  policy: Policy,
): { source: string; destination: string } | null {
  if (mode === "transport") return { source: local, destination: remote };
  if (inner !== null) return { source: inner.local, destination: inner.remote };
  if (subnet === undefined) return null;
  const own = policy.interface.addresses.find(({ family }) => family === subnet.family);
  const source = own ? formatAddress(own) : subnet.family === 4 ? SOURCE4 : SOURCE6;
  return { source, destination: firstHost(subnet) };
}

/** The first address behind the prefix's own, or that where it is the only one. */
function firstHost({ family, words, length }: Prefix): string {
  const alone = length === (family === 4 ? 32 : 128);
  const last = words.length - 1;
  const host = words.map((word, index) => (index === last && !alone ? (word | 1) >>> 0 : word));
  return formatAddress({ family, words: host });
}
