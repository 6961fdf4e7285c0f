import type { PrefixColumns } from "../../compiler/prefix-set.js";
import { addressBits, contains, formatPrefix, parseAddress, parsePrefix } from "../../config/address.js";
import { wholeFamily } from "../../config/families.js";
import type { BackendName, Family, Policy, Prefix } from "../../config/policy.js";
import { readVrfTable } from "../../netlink/link.js";
import type { KernelRoute } from "../../netlink/routes.js";
import { ENGINE_MARK } from "../../sys/engine-mark.js";
import { LWT_PROTOCOL } from "../kernel-lwt/routes.js";
import {
  type GuardKind,
  guardMetric,
  MAIN_TABLE,
  peerTable,
  ROUTES_PROTOCOL,
  RULE_PRIORITY,
  tunnelTable,
} from "./constants.js";
import {
  guardText,
  type Installed,
  ipv6Off,
  isGuardOf,
  isOurs,
  routeText,
  ruleText,
} from "./kernel-state.js";
import { ownedPrefixes } from "./owned.js";
import { kernelPeers, keyedPeers, type Peer, underlayHop } from "./peers.js";
import { type GuardPrefixes, guardPrefixes, ownedRoutes, ownsDefault } from "./plan.js";

/** rtm_protocol of routes that come and go with a policy: of the interface's own addresses (RTPROT_KERNEL), and kernel-lwt's. */
const WITH_POLICY: readonly number[] = [2, LWT_PROTOCOL];

/**
 * Outer packets of the kernel: ESP, ESP in UDP, IKE. The look-ups of its IPsec have the protocol since Linux 6.12, and in branches of older ones
 * (struct xfrm_dst_lookup_params in include/net/xfrm.h).
 */
const OUTER = [
  { ipProto: 50, dport: null },
  { ipProto: 17, dport: 4500 },
  { ipProto: 17, dport: 500 },
] as const;

/** Routes and rules that a policy asks for, as the kernel's other routes are now, and what its user should know. */
export interface Wanted extends Installed {
  readonly notes: readonly string[];
}

/** Of one calculation: the policy, and the machine as it is. */
export interface Situation {
  readonly policy: Policy;
  readonly backend: BackendName;
  /** Null: there is no interface yet. */
  readonly ifindex: number | null;
  /** All but those of the table local. */
  readonly routes: readonly KernelRoute[];
  /** The routes of ours are those of an earlier policy, which is still at work. */
  readonly before: boolean;
}

export function wantedOf(situation: Situation): Wanted {
  const plan = new Plan(situation);
  for (const family of [4, 6] as const) plan.family(family);
  return plan;
}

class Plan implements Wanted {
  readonly guards = new Set<string>();
  readonly routes = new Set<string>();
  readonly rules = new Set<string>();
  readonly notes: string[] = [];
  readonly #situation: Situation;
  readonly #name: string;
  /** Of the interface: its VRF's, or main. */
  readonly #table: number;

  constructor(situation: Situation) {
    this.#situation = situation;
    this.#name = situation.policy.interface.name;
    this.#table = tableOf(situation.ifindex);
  }

  family(family: Family): void {
    const { policy, ifindex } = this.#situation;
    const { guard, routes } = policy.interface;
    if (!guard && !routes) return;
    const owned = ownedPrefixes(policy, family);
    const off = family === 6 && owned.count > 0 ? ipv6Off() : null;
    if (off !== null) {
      this.notes.push(`no guard and no routes for IPv6: ${off}`);
      return;
    }
    const main = this.#guardsIn(MAIN_TABLE, family, owned);
    if (guard) {
      this.#addGuards(MAIN_TABLE, main);
      for (const table of this.#tables(family)) this.#addGuards(table, this.#guardsIn(table, family, owned));
      if (main.tooMany !== null)
        this.notes.push(
          `IPv${family}: what the connections own is ${main.tooMany} prefixes even when put together, too many for guards: only ` +
            `what is routed into ${this.#name} is guarded; route a few broad prefixes into it`,
        );
      this.#peers(family, main);
    }
    if (routes && ifindex !== null && this.#situation.backend !== "kernel-lwt")
      this.#ownRoutes(family, owned);
    if (ownsDefault(owned)) this.#tunnel(family);
    if (ifindex !== null) this.#unrouted(family, owned, main);
  }

  /** Tables besides main that have a route into the interface, or a guard of ours. */
  #tables(family: Family): number[] {
    const own = [tunnelTable(this.#name), peerTable(this.#name)];
    const tables = this.#situation.routes
      .filter((route) => route.family === family && (this.#isInto(route) || isGuardOf(route, this.#name)))
      .map(({ table }) => table);
    return [...new Set([...tables, this.#table])].filter(
      (table) => table !== MAIN_TABLE && !own.includes(table),
    );
  }

  #isInto({ type, hops }: KernelRoute): boolean {
    const { ifindex } = this.#situation;
    return type === "unicast" && ifindex !== null && hops.some(({ oif }) => oif === ifindex);
  }

  #guardsIn(table: number, family: Family, owned: PrefixColumns): GuardPrefixes {
    const here = this.#situation.routes.filter((route) => route.table === table && route.family === family);
    const followed = guardMetric(this.#name, "followed");
    const into = here.filter((route) => this.#isInto(route));
    return guardPrefixes(owned, {
      main: table === MAIN_TABLE,
      into: into.filter(({ protocol }) => !WITH_POLICY.includes(protocol) && protocol !== ROUTES_PROTOCOL),
      ours: into.filter(
        ({ protocol, length }) =>
          (WITH_POLICY.includes(protocol) || (this.#situation.before && protocol === ROUTES_PROTOCOL)) &&
          length < addressBits(family),
      ),
      followed: here.filter((route) => isGuardOf(route, this.#name) && route.metric === followed),
      elsewhere: here.filter((route) => this.#isElsewhere(route)),
    });
  }

  #isElsewhere(route: KernelRoute): boolean {
    return route.type === "unicast" && route.length > 0 && !isOurs(route) && !this.#isInto(route);
  }

  #addGuards(table: number, { guards }: GuardPrefixes): void {
    for (const [prefix, kind] of guards) this.#addGuard(prefix, table, kind);
  }

  #addGuard(prefix: string, table: number, kind: GuardKind): void {
    this.guards.add(guardText(prefix, table, guardMetric(this.#name, kind)));
  }

  #ownRoutes(family: Family, owned: PrefixColumns): void {
    const elsewhere = this.#situation.routes.filter(
      (route) => route.family === family && route.table === this.#table && this.#isElsewhere(route),
    );
    const own = ownedRoutes(owned, elsewhere);
    if ("tooMany" in own)
      this.notes.push(
        `interface.routes: IPv${family} would take ${own.tooMany} routes even when put together: none are made; route a few broad ` +
          `prefixes into ${this.#name}`,
      );
    else for (const prefix of own.prefixes) this.#addRoute(prefix, this.#table);
  }

  #addRoute(prefix: Prefix, table: number): void {
    const { ifindex } = this.#situation;
    if (ifindex !== null)
      this.routes.add(routeText(formatPrefix(prefix), { oif: ifindex, gateway: null, source: null }, table));
  }

  /** Routes that outer packets take to peers which a guard would keep them from, and rules by which only they take them. */
  #peers(family: Family, { guards }: GuardPrefixes): void {
    const { policy, backend, routes } = this.#situation;
    const peers = backend === "userspace" ? keyedPeers(policy) : kernelPeers(policy);
    const prefixes = [...guards.keys()].map(prefixOf);
    const table = peerTable(this.#name);
    for (const peer of peers) {
      if (peer.family !== family || !isInside(peer, prefixes)) continue;
      const hop = underlayHop(peer, routes, (route) => isOurs(route) || this.#isInto(route));
      if (hop === null) {
        this.notes.push(
          `the peer ${peer.address} is inside of what connections own, and no other route leads to it` +
            `${peer.link === null ? "" : ` by ${peer.link}`}: make one, and apply again`,
        );
        continue;
      }
      this.routes.add(routeText(`${peer.address}/${family === 4 ? 32 : 128}`, hop, table));
      const rule = { family, priority: RULE_PRIORITY.peers, table, not: false, suppress: null };
      const to = `${peer.address}/${family === 4 ? 32 : 128}`;
      if (backend === "userspace")
        this.rules.add(ruleText({ ...rule, to: null, ipProto: null, dport: null, mark: ENGINE_MARK }));
      else for (const outer of OUTER) this.rules.add(ruleText({ ...rule, to, ...outer, mark: null }));
    }
  }

  /**
   * A default-route tunnel: what no longer prefix of the table main has goes to a table of its own, where nothing but the
   * interface is in front of the guard. The engine's packets do not.
   */
  #tunnel(family: Family): void {
    const { policy, backend, routes, ifindex } = this.#situation;
    const here = routes.filter((route) => route.family === family && route.length === 0);
    const table = tunnelTable(this.#name);
    const routed = here.some((route) => route.table === MAIN_TABLE && !isOurs(route) && this.#isInto(route));
    const was = here.some((route) => route.table === table && isGuardOf(route, this.#name));
    if (!policy.interface.routes && !routed && !was) return;
    if (backend !== "userspace") {
      this.notes.push(
        `the IPv${family} default route is not guarded${policy.interface.routes ? ", and none is made" : ""}: ESP packets of the kernel have no mark ` +
          "that would keep them out of the tunnel; the userspace backend's have",
      );
      return;
    }
    if (policy.interface.guard) this.#addGuard(formatPrefix(wholeFamily(family)), table, "owned");
    if (ifindex !== null && (policy.interface.routes || routed)) this.#addRoute(wholeFamily(family), table);
    const any = { family, to: null, ipProto: null, dport: null };
    const { main, tunnel } = RULE_PRIORITY;
    this.rules.add(
      ruleText({ ...any, priority: main, table: MAIN_TABLE, not: false, mark: null, suppress: 0 }),
    );
    this.rules.add(
      ruleText({ ...any, priority: tunnel, table, not: true, mark: ENGINE_MARK, suppress: null }),
    );
  }

  /** Says what is owned and goes elsewhere, or nowhere. */
  #unrouted(family: Family, owned: PrefixColumns, main: GuardPrefixes): void {
    const { policy, routes } = this.#situation;
    const here = routes.filter((route) => route.family === family && route.table === this.#table);
    const into = here.filter((route) => this.#isInto(route));
    const isRouted = (prefix: Prefix) =>
      this.routes.has(
        routeText(
          formatPrefix(prefix),
          { oif: this.#situation.ifindex ?? 0, gateway: null, source: null },
          this.#table,
        ),
      ) || into.some((route) => contains(route, prefix) || contains(prefix, route));
    const own = ownedRoutes(owned, []);
    const lost =
      "prefixes" in own ? own.prefixes.filter((prefix) => !isRouted(prefix)).map(formatPrefix) : [];
    if (lost.length > 0 && !(policy.interface.routes && this.#situation.backend !== "kernel-lwt"))
      this.notes.push(
        `nothing routes ${listed(lost)} into ${this.#name}; \`interface: {routes: true}\` would, or \`ip route add ${lost[0]} dev ${this.#name}\``,
      );
    if (!policy.interface.guard) return;
    const gone = [...main.guards].filter(
      ([prefix, kind]) => kind === "followed" && !isRouted(prefixOf(prefix)),
    );
    if (gone.length > 0)
      this.notes.push(
        `${listed(gone.map(([prefix]) => prefix))} was routed into ${this.#name} and is no more: its guard stays until \`unload\``,
      );
  }
}

/** The VRF's that the device is in, or main. */
function tableOf(ifindex: number | null): number {
  return (ifindex === null ? null : readVrfTable(ifindex)) ?? MAIN_TABLE;
}

function isInside({ address }: Peer, prefixes: readonly Prefix[]): boolean {
  const found = parseAddress(address);
  return found !== null && prefixes.some((prefix) => contains(prefix, found));
}

function prefixOf(text: string): Prefix {
  const result = parsePrefix(text);
  if (!("prefix" in result)) throw new Error(`${text}: ${result.message}`);
  return result.prefix;
}

const LISTED = 4;

export function listed(prefixes: readonly string[]): string {
  const more = prefixes.length - LISTED;
  return `${prefixes.slice(0, LISTED).join(", ")}${more > 0 ? ` and ${more} more` : ""}`;
}
