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

const NEEDS: readonly FeatureName[] = ["esp", "xfrm-external"];

export const kernelBpf: Subject = {
  backend: "kernel-bpf",
  needs: [...NEEDS, "bpf-kfunc"],
  counts: true,
  connect,
  esp: () => "",
};

export const kernelLwt: Subject = {
  backend: "kernel-lwt",
  needs: [...NEEDS, "lwt-xfrm"],
  counts: false,
  connect,
  esp: () => "",
};
