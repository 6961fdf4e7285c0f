import type { Namespace } from "../namespace.js";
import type { ScenarioContext } from "../scenario.js";

/** The features that every scenario with an external device and LWT routes needs. */
export const LWT_NEEDS = ["esp", "xfrm-external", "lwt-xfrm"] as const;

/** Makes the external device, ipsec0, with its addresses. */
export async function addExternal(namespace: Namespace, ...addresses: string[]): Promise<void> {
  await addXfrmDevice(namespace, "ipsec0", "external", addresses);
}

/** Makes an xfrm device of its own for one if_id. */
export async function addXfrm(
  namespace: Namespace,
  device: string,
  ifId: number,
  ...addresses: string[]
): Promise<void> {
  await addXfrmDevice(namespace, device, `if_id ${ifId}`, addresses);
}

async function addXfrmDevice(
  namespace: Namespace,
  device: string,
  kind: string,
  addresses: readonly string[],
) {
  const lines = addresses.map((address) => {
    return `addr add ${address} dev ${device}${address.includes(":") ? " nodad" : ""}`;
  });
  await namespace.ip([`link add ${device} type xfrm ${kind}`, ...lines, `link set ${device} up`].join("\n"));
}

/** The addresses of uplink `index`, IPv4 or IPv6, without their prefix length. */
export function underlay(index: number, family: 4 | 6 = 4): { hub: string; peer: string; length: number } {
  return family === 4
    ? { hub: `172.16.${index}.100`, peer: `172.16.${index}.200`, length: 24 }
    : { hub: `fd00:16:${index}::100`, peer: `fd00:16:${index}::200`, length: 64 };
}

/** Joins hub and peer by the veth pair v0INDEX (hub) and vINDEX0 (peer), with {@link underlay} addresses. */
export async function addUplink(
  t: ScenarioContext,
  hub: Namespace,
  peer: Namespace,
  index: number,
  family: 4 | 6 = 4,
): Promise<{ hub: string; peer: string }> {
  const outer = underlay(index, family);
  await t.veth(
    { ns: hub, device: `v0${index}`, addresses: [`${outer.hub}/${outer.length}`] },
    { ns: peer, device: `v${index}0`, addresses: [`${outer.peer}/${outer.length}`] },
  );
  return outer;
}

/** Packets of each SA by SPI, those without any left out. */
export async function packetsBySpi(namespace: Namespace): Promise<Record<string, number>> {
  const used = (await namespace.sas()).filter(({ packets }) => packets > 0);
  return Object.fromEntries(used.map(({ spi, packets }) => [`0x${spi.toString(16)}`, packets]));
}
