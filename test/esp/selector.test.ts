import test from "ava";
import { parseAddress } from "../../src/config/address.js";
import { ANY_SELECTOR, type Selector, SelectorTest } from "../../src/esp/selector.js";
import { icmpMessage, ipPacket, portsOf, type Wanted } from "../support/icmp-error.js";

const prefix = (text: string) => {
  const [address = "", length = ""] = text.split("/");
  const { family, words } = parseAddress(address) ?? { family: 4, words: [] };
  return { family, words, length: Number(length) };
};

/** Inbound, of site b: what comes from its web servers to our network. */
const FROM_B: Selector = {
  ...ANY_SELECTOR,
  ...{ source: prefix("10.1.0.0/16"), destination: prefix("10.0.0.0/24") },
  ...{ protocol: 6, sourcePort: { from: 443, to: 443 } },
};
const FROM_B6: Selector = {
  ...FROM_B,
  ...{ source: prefix("fd00:1::/32"), destination: prefix("fd00::/64") },
};
const PING: Selector = { ...ANY_SELECTOR, source: prefix("10.1.0.0/16"), protocol: 1 };
const NET: Selector = { ...ANY_SELECTOR, source: prefix("10.1.0.0/16"), destination: prefix("10.0.0.0/24") };

const [ICMP, TCP, ICMPV6] = [1, 6, 58];
const tcp = (src: string, sport: number, dst: string, dport: number, more: Partial<Wanted> = {}) =>
  ipPacket({ src, dst, proto: TCP, payload: portsOf(sport, dport), ...more });
const error = (quoted: Uint8Array, more: Partial<Wanted> = {}, type = 3) =>
  ipPacket({ src: "10.77.0.1", dst: "10.0.0.7", proto: ICMP, payload: icmpMessage(type, quoted), ...more });
const error6 = (quoted: Uint8Array, more: Partial<Wanted> = {}) =>
  ipPacket({ src: "fd77::1", dst: "fd00::7", proto: ICMPV6, payload: icmpMessage(2, quoted), ...more });
const SENT = tcp("10.0.0.7", 5000, "10.1.0.5", 443);
const OPTIONS = (next: number) => ({ first: 60, bytes: Uint8Array.of(next, 0, 1, 4, 0, 0, 0, 0) });

const cases: readonly (readonly [what: string, selector: Selector, packet: Uint8Array, fits: boolean])[] = [
  ["a packet of the flow", FROM_B, tcp("10.1.0.5", 443, "10.0.0.7", 5000), true],
  ["a packet of another flow", FROM_B, tcp("10.1.0.5", 80, "10.0.0.7", 5000), false],
  ["a router's error about what was sent", FROM_B, error(SENT), true],
  ["one about another flow", FROM_B, error(tcp("10.0.0.7", 5000, "10.1.0.5", 80)), false],
  ["one about what was received", FROM_B, error(tcp("10.1.0.5", 443, "10.0.0.7", 5000)), false],
  [
    "IPv4 options of both",
    FROM_B,
    error(tcp("10.0.0.7", 5000, "10.1.0.5", 443, { options: 4 }), { options: 8 }),
    true,
  ],
  ["a selector of ports, and a quote without", FROM_B, error(SENT.subarray(0, 22)), false],
  ["a selector of addresses, and a quote without ports", NET, error(SENT.subarray(0, 22)), true],
  ["a quote without an IP header, by its own", NET, error(SENT.subarray(0, 19)), false],
  [
    "the same, from an address of the selector's",
    NET,
    error(SENT.subarray(0, 19), { src: "10.1.0.1" }),
    true,
  ],
  [
    "forged about another's flow from an own address",
    NET,
    error(tcp("10.0.0.7", 1, "10.2.0.5", 2), { src: "10.1.0.1" }),
    false,
  ],
  ["a redirect, by its own header", NET, error(SENT, {}, 5), false],
  ["a fragment of an error, by its own header", NET, error(SENT, { fragment: 0x2000 }), false],
  ["an error about an error, by its own header", NET, error(error(SENT)), false],
  ["a selector that names ICMP, and its error", PING, error(SENT, { src: "10.1.0.1" }), true],
  ["a selector that names ICMP, and a router's error about TCP", PING, error(SENT), false],
  [
    "a selector that names ICMP, and a router's error about a ping",
    PING,
    error(
      ipPacket({ src: "10.0.0.7", dst: "10.1.0.5", proto: ICMP, payload: icmpMessage(8, new Uint8Array(0)) }),
    ),
    true,
  ],
  ["IPv6", FROM_B6, error6(tcp("fd00::7", 5000, "fd00:1::5", 443)), true],
  ["IPv6, another flow", FROM_B6, error6(tcp("fd00::7", 5000, "fd00:1::5", 80)), false],
  [
    "IPv6, extension headers of both",
    FROM_B6,
    error6(tcp("fd00::7", 5000, "fd00:1::5", 443, { extensions: OPTIONS(TCP) }), {
      extensions: OPTIONS(ICMPV6),
    }),
    true,
  ],
  ["IPv6, cut off", FROM_B6, error6(tcp("fd00::7", 5000, "fd00:1::5", 443).subarray(0, 39)), false],
];

for (const [what, selector, packet, fits] of cases)
  test(`${what}: ${fits ? "fits" : "does not fit"}`, (t) => {
    // In the middle of other bytes, which are not to be read.
    const around = new Uint8Array(packet.length + 64).fill(0x45);
    around.set(packet, 32);
    const view = new DataView(around.buffer);
    t.is(new SelectorTest(selector).matches(view, 32, 32 + packet.length), fits);
  });
