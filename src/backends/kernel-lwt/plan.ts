import { locating } from "../../compiler/alternatives.js";
import type { Devices } from "../../compiler/compile.js";
import { CompileError } from "../../compiler/error.js";
import { MATCH_FIELDS } from "../../compiler/reference.js";
import { formatPrefix } from "../../config/address.js";
import type { Diagnostic } from "../../config/diagnostics.js";
import type { Connection, Policy, Prefix, Rule } from "../../config/policy.js";
import { PrefixMap } from "../../config/prefix-map.js";

/** A route into an external xfrm interface that gives its packets xfrm metadata. */
export interface Route {
  readonly prefix: Prefix;
  /** 0: the if_id is held, and without metadata the interface drops and counts the packet. */
  readonly ifId: number;
  /** Ifindex of the underlay; 0: routing chooses. */
  readonly link: number;
}

/**
 * The routes that do what a policy says. Routes go by the longest prefix and rules by the first match; so a prefix that
 * an earlier rule covers gets no route, as no packet comes to it.
 *
 * @param held if_ids that are to be given to no packet; their routes stay, so that nothing goes by a shorter prefix
 * @throws CompileError with a line for each thing that a route cannot say
 */
export function planRoutes(policy: Policy, devices: Devices, held: ReadonlySet<number> = new Set()): Route[] {
  const problems = inexpressible(policy);
  if (problems.length > 0)
    throw new CompileError(
      problems,
      problems.flatMap(({ rule }) => rule ?? []),
    );
  const connections = new Map(policy.connections.map((connection) => [connection.name, connection]));
  const decided = new PrefixMap<true>();
  const routes: Route[] = [];
  const decide = (prefix: Prefix, ifId: number, link: number, unless: PrefixMap<true>) => {
    if (!unless.covering(prefix).next().done) return;
    decided.set(prefix, true);
    routes.push(held.has(ifId) ? { prefix, ifId: 0, link: 0 } : { prefix, ifId, link });
  };
  const linkOf = (connection: Connection) =>
    connection.link === null ? 0 : locating(devices, "connection", connection).ifindexOf(connection.link);
  for (const rule of policy.rules) {
    const { match, to } = rule;
    const connection = to.kind === "connection" ? connections.get(to.connection) : undefined;
    if (connection === undefined || to.kind !== "connection") continue;
    const link = to.link === null ? linkOf(connection) : locating(devices, "rule", rule).ifindexOf(to.link);
    for (const prefix of match.dst) decide(prefix, connection.ifId, link, decided);
  }
  // Subnets go by the longest prefix among themselves: only a rule's prefix covers one.
  const byRules = new PrefixMap<true>();
  for (const { prefix } of routes) byRules.set(prefix, true);
  for (const connection of policy.connections) {
    const link = linkOf(connection);
    for (const prefix of new Map(connection.subnets.map((each) => [formatPrefix(each), each])).values())
      decide(prefix, connection.ifId, link, byRules);
  }
  return routes;
}

interface Problem extends Diagnostic {
  /** Name of the rule that it is about. */
  readonly rule?: string;
}

const HINT = "the kernel-bpf and userspace backends can";

/** What of a policy routes cannot say, in the order of the file; empty where they can say all of it. */
export function inexpressible(policy: Policy): Problem[] {
  const problems: Problem[] = [];
  for (const connection of policy.connections)
    if (connection.rxMark !== null)
      problems.push({
        ...connection.location,
        severity: "error",
        message: `connection ${connection.name} has an rx mark, which a route cannot set`,
        hint: HINT,
      });
  const owners = new PrefixMap<string>();
  for (const { name, subnets, location } of policy.connections) {
    for (const prefix of subnets) {
      const other = owners.get(prefix);
      if (other !== undefined && other !== name)
        problems.push({
          ...location,
          severity: "error",
          message: `connections ${other} and ${name} share ${formatPrefix(prefix)}, and a route leads to one connection`,
          hint: HINT,
        });
      owners.set(prefix, name);
    }
  }
  for (const rule of policy.rules) {
    const why = whyNot(rule);
    if (why !== null)
      problems.push({
        ...rule.location,
        severity: "error",
        message: `rule ${rule.name} ${why}; a route takes a destination prefix to a connection`,
        hint: HINT,
        rule: rule.name,
      });
  }
  for (const file of policy.flows.files)
    problems.push({
      file,
      line: 1,
      column: 1,
      severity: "error",
      message: "bulk flows need a program",
      hint: `write their prefixes as subnets; ${HINT}`,
    });
  const [first] = policy.connections;
  if (policy.default === "pass" && first)
    problems.push({
      file: first.location.file,
      line: 1,
      column: 1,
      severity: "error",
      message: "default: pass needs a program; without a route's metadata the interface drops a packet",
      hint: `write default: drop; ${HINT}`,
    });
  if (policy.program)
    problems.push({
      ...{ file: first?.location.file ?? policy.program.file, line: 1, column: 1, severity: "error" },
      ...{ message: "the policy has a program, which a route cannot run", hint: HINT },
    });
  return problems.sort((a, b) => a.line - b.line || a.column - b.column);
}

function whyNot({ match, to, set }: Rule): string | null {
  if (to.kind !== "connection") return `goes to ${to.kind === "group" ? "a group" : to.kind}`;
  if (set.mark !== null || set.dscp !== null) return "sets fields of the packet";
  const others = MATCH_FIELDS.filter((field) => field !== "dst" && match[field].length > 0);
  if (others.length > 0) return `matches on ${others.join(", ")}`;
  if (match.not.includes("dst")) return "matches on what dst is not";
  return match.dst.length === 0 ? "has no dst" : null;
}
