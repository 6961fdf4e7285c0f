import { parseAddress } from "./address.js";
import { matchFamilies } from "./families.js";
import type { EspConfig, Policy } from "./policy.js";

/** A device with a smaller MTU has no IPv6 (RFC 8200 section 5; net/ipv6/addrconf.c, addrconf_notify). */
export const IPV6_MIN_MTU = 1280;

/** Whether an IPv6 address or prefix stands in a policy: on its interface, in a connection, a rule or a flow. */
export function namesIpv6({ interface: device, connections, rules, flows }: Named): boolean {
  const isIpv6 = ({ family }: { readonly family: 4 | 6 }) => family === 6;
  return (
    device.addresses.some(isIpv6) ||
    connections.some(({ subnets, esp }) => subnets.some(isIpv6) || (esp !== null && hasIpv6Inside(esp))) ||
    flows.subnets6.length.length > 0 ||
    flows.exact6.proto.length > 0 ||
    rules.some(({ match: { src, dst } }) => src.some(isIpv6) || dst.some(isIpv6))
  );
}

type Named = Pick<Policy, "interface" | "connections" | "rules" | "flows">;

/** The inner packets of transport mode have the outer addresses, those of BEET have addresses of their own. */
function hasIpv6Inside({ mode, remote, inner }: EspConfig): boolean {
  const address = mode === "transport" ? remote : inner?.remote;
  return address !== undefined && parseAddress(address)?.family === 6;
}

/** As `namesIpv6`; or IPv6 packets may be steered by a rule that asks for no addresses, or by a program. */
export function mayCarryIpv6(policy: Policy): boolean {
  return (
    namesIpv6(policy) ||
    policy.program !== undefined ||
    policy.rules.some(({ match, to }) => to.kind !== "drop" && matchFamilies(match).includes(6))
  );
}
