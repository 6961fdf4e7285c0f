import { HUB, SITE, type SiteName } from "./topology.js";

/** One flow from the hub to the address that both sites own. */
export interface Flow {
  readonly name: string;
  readonly protocol: "ping" | "tcp" | "udp";
  readonly from: string;
  readonly to: string;
  /** null for ping */
  readonly port: number | null;
  /** The rule of examples/hub-and-sites that is to decide, and where it leads; null where none matches. */
  readonly rule: string | null;
  readonly connection: SiteName | null;
}

const v4 = { from: HUB.ipv4, to: SITE.ipv4 };
const v6 = { from: HUB.ipv6, to: SITE.ipv6 };

export const FLOWS: readonly Flow[] = [
  { name: "ping", protocol: "ping", ...v4, port: null, rule: "ping-a", connection: "site-a" },
  { name: "ping6", protocol: "ping", ...v6, port: null, rule: "ping6-b", connection: "site-b" },
  { name: "voice-a", protocol: "udp", ...v4, port: 4000, rule: "voice-a", connection: "site-a" },
  { name: "voice-a6", protocol: "udp", ...v6, port: 4000, rule: "voice-a", connection: "site-a" },
  { name: "voice-b", protocol: "udp", ...v4, port: 5060, rule: "voice-b", connection: "site-b" },
  { name: "voice-b6", protocol: "udp", ...v6, port: 5060, rule: "voice-b", connection: "site-b" },
  { name: "stray", protocol: "udp", ...v4, port: 9999, rule: null, connection: null },
  { name: "stray6", protocol: "udp", ...v6, port: 9999, rule: null, connection: null },
  { name: "bulk-a", protocol: "tcp", ...v4, port: 5201, rule: "bulk-a", connection: "site-a" },
  { name: "bulk-b6", protocol: "tcp", ...v6, port: 5301, rule: "bulk-b", connection: "site-b" },
];

/** Echo requests, datagrams; bytes of each direction of a TCP flow. */
export const PINGS = 20;
export const DATAGRAMS = 500;
export const BULK_BYTES = 50_000_000;
