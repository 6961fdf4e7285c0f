import { formatAddress, formatPrefix, overlaps } from "../config/address.js";
import { coversMatch } from "../config/cover.js";
import { type Diagnostic, MAX_PROBLEMS } from "../config/diagnostics.js";
import { sidePrefixes } from "../config/families.js";
import { ANY_MATCH } from "../config/match.js";
import type { ExactFlows, Location, Policy, Prefix, Rule } from "../config/policy.js";
import { targetConnections } from "../config/target.js";
import { asks, isHost, type OneWay, ReplyCheck } from "./one-way.js";
import { dstAddress, type Malformed, type PacketKey } from "./packet.js";
import { type Decision, longestSubnet } from "./reference.js";

/** Places of one rule that are named. */
const MAX_PLACES = 4;

/** Rules and exact flows whose connection does not admit the replies to what they send there, one line for each two. */
export function* unansweredRules(policy: Policy): Generator<Diagnostic> {
  if (!checksSources(policy)) return;
  const indexes = new Map(policy.connections.map(({ name }, index) => [name, index]));
  const check = new ReplyCheck(policy);
  let problems = 0;
  let more: Location | null = null;
  for (const [index, rule] of policy.rules.entries())
    for (const name of targetConnections(rule.to)) {
      // Of those that are only counted one place is enough.
      const most = problems < MAX_PROBLEMS ? MAX_PLACES + 1 : 1;
      const places = check.places(index, indexes.get(name) ?? -1, most);
      if (places.length === 0) continue;
      if (++problems <= MAX_PROBLEMS) yield unanswered(policy, index, name, places);
      else more ??= rule.location;
    }
  if (more !== null)
    yield warning(
      more,
      `from this rule on there are ${problems - MAX_PROBLEMS} more whose connection does not admit replies`,
      "mend those above first",
    );
  yield* unansweredFlows(policy, check);
}

/** Routes of kernel-lwt let in what an SA decrypts, whatever its source. */
const checksSources = ({ backend }: Policy) => backend !== "kernel-lwt";

function warning(location: Location, message: string, hint: string): Diagnostic {
  return { ...location, severity: "warning", message, hint };
}

function unanswered(policy: Policy, index: number, name: string, places: readonly OneWay[]): Diagnostic {
  const rule = policy.rules[index] as Rule;
  const [first] = places;
  if (first?.owned === null && first.prefix.length === 0)
    return warning(
      rule.location,
      `rule ${rule.name}: all replies that come in on ${name} are dropped as bad source, as it has no subnets`,
      `give ${name} the subnets that lie behind it`,
    );
  const shown = places.slice(0, MAX_PLACES).map(({ prefix }) => formatPrefix(prefix));
  if (places.length > shown.length) shown.push("more");
  return warning(
    rule.location,
    `rule ${rule.name}: replies from ${list(shown)} come in on ${name}, whose subnets do not hold ` +
      `${shown.length === 1 ? "it" : "them"}: they are dropped as bad source`,
    remedy(policy, rule, name, places, list(shown)),
  );
}

/** A prefix that is owned twice decides nothing: who owned it alone then needs a rule for the rest. */
function remedy(policy: Policy, rule: Rule, name: string, places: readonly OneWay[], shown: string): string {
  const takesAll = coversMatch({ ...rule.match, dst: [] }, ANY_MATCH);
  const ownersOf = (some: readonly OneWay[]) => [
    ...new Set(some.flatMap(({ owners }) => owners).map((owner) => policy.connections[owner]?.name ?? "")),
  ];
  const whole = places.filter(({ prefix, owned }) => owned?.length === prefix.length);
  const parts = places.filter(({ prefix, owned }) => owned !== null && owned.length < prefix.length);
  const [only] = places;
  if (takesAll && places.length === 1 && whole.length === 1 && only?.owners.length === 1)
    return `move ${shown} from the subnets of ${list(ownersOf(places))} to those of ${name}`;
  const owners = takesAll ? [] : ownersOf(parts);
  const unled = takesAll
    ? []
    : ownersOf(
        [...whole, ...parts].filter(
          ({ owners: [owner = -1, ...others], prefix }) =>
            others.length === 0 && !leads(policy, policy.connections[owner]?.name ?? "", prefix),
        ),
      );
  const dst = places.map(({ prefix }) => yaml(prefix)).join(", ");
  const rules =
    unled.length === 1 && places.length === 1
      ? `, and behind ${rule.name} a rule with match: {dst: ${dst}} and to: ${unled[0]} for the rest`
      : `, and behind ${rule.name} rules that send the rest to ${list(unled)}`;
  const to = owners.length === 0 ? `${name}'s subnets` : `the subnets of ${list([name, ...owners])}`;
  return `add ${shown} to ${to}${unled.length === 0 ? "" : rules}`;
}

/** Whether a rule sends anything in a prefix to a connection. */
function leads({ rules }: Policy, connection: string, prefix: Prefix): boolean {
  return rules.some(
    ({ match, to }) =>
      targetConnections(to).includes(connection) &&
      sidePrefixes(match, "dst").some((dst) => overlaps(dst, prefix)),
  );
}

function* unansweredFlows(policy: Policy, check: ReplyCheck): Generator<Diagnostic> {
  for (const family of [4, 6] as const) {
    const flows = policy.flows[`exact${family}`];
    const rows = flows.connection.length;
    const firsts = new Map<number, { row: number; count: number }>();
    const size = family === 4 ? 1 : 4;
    for (let row = 0; row < rows; row++) {
      const words = [...flows.dst.subarray(row * size, (row + 1) * size)];
      const connection = flows.connection[row] as number;
      const owners = check.owners(family);
      if (!isHost({ family, words }) || owners.owners(owners.find(words)).includes(connection)) continue;
      const first = firsts.get(connection);
      if (first === undefined) firsts.set(connection, { row, count: 1 });
      else first.count++;
    }
    for (const [connection, { row, count }] of firsts) {
      const words = [...flows.dst.subarray(row * size, (row + 1) * size)];
      const name = policy.connections[connection]?.name ?? "";
      const others = count === 1 ? "" : `, and so are those of ${count - 1} more flows`;
      yield warning(
        placeOf(policy, flows, row),
        `the flow's replies from ${formatAddress({ family, words })} come in on ${name}, whose subnets do not hold it: ` +
          `they are dropped as bad source${others}`,
        `add what lies behind ${name} to its subnets too, and rules where others own it`,
      );
    }
  }
}

function placeOf({ flows: { files } }: Policy, { file, line }: ExactFlows, row: number): Location {
  return { file: files[file[row] ?? 0] ?? "", line: line[row] ?? 0, column: 1 };
}

/** Says of a packet that goes into a connection that its replies would not be admitted; null where they would. */
export function unansweredPacket(
  policy: Policy,
  packet: PacketKey | Malformed,
  { action }: Decision,
): string | null {
  if ("malformed" in packet || action.kind !== "connection" || !checksSources(policy)) return null;
  const dst = dstAddress(packet);
  if (!isHost(dst) || (packet.icmpType !== null && !asks(packet.family, packet.icmpType))) return null;
  const longest = longestSubnet(policy, dst);
  if (longest?.connections.includes(action.connection)) return null;
  const name = (index: number) => policy.connections[index]?.name ?? "";
  const owned =
    longest === null
      ? "no connection owns it"
      : `${formatPrefix(longest.prefix)} is ${list(longest.connections.map(name))}'s`;
  const to = name(action.connection);
  return (
    `replies from ${formatAddress(dst)} come in on ${to}, whose subnets do not hold it (${owned}): ` +
    "they are dropped as bad source"
  );
}

function yaml(prefix: Prefix): string {
  return prefix.family === 6 ? `"${formatPrefix(prefix)}"` : formatPrefix(prefix);
}

function list(words: readonly string[]): string {
  return words.length < 2 ? words.join() : `${words.slice(0, -1).join(", ")} and ${words.at(-1)}`;
}
