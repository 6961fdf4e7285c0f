import type { BackendName } from "../../../config/policy.js";
import type { FeatureName } from "../../features.js";
import { connectEsp } from "../../xfrm.js";
import { addXfrm } from "../hub.js";
import type { Branch, Subject } from "./subject.js";

/** SAs and policies by `ip xfrm` at both ends; the peer has an xfrm interface for its one if_id. */
async function connect({ hub, peer, outer, ifId, spi, inner }: Branch): Promise<void> {
  await addXfrm(peer, "ipsec0", ifId + 10, ...inner);
  await peer.ip("route add 10.0.0.1/32 dev ipsec0\nroute add fd00::1/128 dev ipsec0");
  const ends = {
    a: { ns: hub, address: outer.hub, ifId },
    b: { ns: peer, address: outer.peer, ifId: ifId + 10 },
  };
  await connectEsp({ ...ends, spi, reqid: ifId, family: 4 });
  for (const [ns, id, out] of [
    [hub, ifId, [outer.hub, outer.peer]],
    [peer, ifId + 10, [outer.peer, outer.hub]],
  ] as const) {
    const policy = (dir: string, [src, dst]: readonly [string, string]) =>
      `xfrm policy add src ::/0 dst ::/0 dir ${dir} if_id ${id} tmpl src ${src} dst ${dst} proto esp reqid ${ifId} mode tunnel`;
    const back = [out[1], out[0]] as const;
    await ns.ip([policy("out", out), policy("in", back), policy("fwd", back)].join("\n"));
  }
}

/** Each uplink into a VRF of its own, with its own route to the peer. */
async function separateUplinks({ hub, outer }: Branch, indexes: readonly number[]): Promise<void> {
  for (const i of indexes)
    await hub.ip(`link add vrf${i} type vrf table 10${i}
      link set vrf${i} up
      link set v0${i} master vrf${i}
      route add ${outer.peer}/32 via 172.16.${i}.200 dev v0${i} table 10${i}`);
}

function kernelSubject(backend: BackendName, counts: boolean, feature: FeatureName): Subject {
  const needs = ["esp", "xfrm-external", feature] as const;
  return { backend, counts, needs, linkNeeds: [...needs, "vrf"], connect, separateUplinks, esp: () => "" };
}

export const kernelBpf = kernelSubject("kernel-bpf", true, "bpf-kfunc");
export const kernelLwt = kernelSubject("kernel-lwt", false, "lwt-xfrm");
