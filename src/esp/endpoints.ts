import ipaddr from "ipaddr.js";
import { type Address, isLinkLocal } from "../sys/sockaddr.js";

/** What is wrong with an address, and what would be right. */
export interface AddressProblem {
  readonly message: string;
  readonly hint: string;
}

const ONE_HOST = "write the address of one host";

/** Why an address is none that a host can have; null where it can. */
export function whyNoHost({ text }: Address): AddressProblem | null {
  const address = ipaddr.parse(text);
  switch (address.range()) {
    case "unspecified":
      return { message: `${text} names no host`, hint: ONE_HOST };
    case "multicast":
      return { message: `${text} is a multicast address`, hint: ONE_HOST };
    case "broadcast":
      return { message: `${text} is a broadcast address`, hint: ONE_HOST };
    case "ipv4Mapped":
      // RFC 4291 section 2.5.5.2: within a host they stand for IPv4, on the wire for nothing.
      return {
        message: `${text} is an IPv4-mapped address, which no packet has`,
        hint: `write ${(address as ipaddr.IPv6).toIPv4Address()}`,
      };
    default:
      return null;
  }
}

export type End = "local" | "remote";

/** Why no packet can travel between two addresses, each problem with the end that has it; nothing where it can. */
export function endpointProblems(
  ends: Readonly<Record<End, Address>>,
): readonly (AddressProblem & { readonly end: End })[] {
  const problems = (["local", "remote"] as const).flatMap((end) => {
    const problem = whyNoHost(ends[end]);
    return problem === null ? [] : [{ end, hint: problem.hint, message: `${end} ${problem.message}` }];
  });
  const { local, remote } = ends;
  if (problems.length > 0) return problems;
  // Both ends may be on this machine: their ports tell them apart.
  if (local.text !== remote.text || ipaddr.parse(local.text).range() === "loopback") return [];
  return [
    { end: "remote", message: `remote ${remote.text} is local too`, hint: "write the other end's address" },
  ];
}

/** As `endpointProblems`, of outer addresses: a link-local one means nothing without the link that it is on (RFC 4007 section 6). */
export function outerProblems(
  ends: Readonly<Record<End, Address>>,
  hasLink: boolean,
): ReturnType<typeof endpointProblems> {
  const problems = endpointProblems(ends);
  if (problems.length > 0 || hasLink) return problems;
  return (["local", "remote"] as const)
    .filter((end) => isLinkLocal(ends[end]))
    .map((end) => ({
      end,
      message: `${end} ${ends[end].text} is link-local, and the connection has no link`,
      hint: "write link: DEVICE, the device that the address is on",
    }));
}
