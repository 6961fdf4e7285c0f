import type { FeatureName } from "../features.js";
import type { Namespace } from "../namespace.js";
import { LOSS_MS } from "../patience.js";
import { type Scenario, type ScenarioContext, scenario } from "../scenario.js";
import { udpFlow } from "../traffic.js";
import { connectEsp } from "../xfrm.js";
import { BPF_NEEDS, hubPolicy } from "./bpf-hub.js";
import { addExternal, addUplink, addXfrm, LWT_NEEDS, packetsBySpi } from "./hub.js";

const INNER = {
  4: { hub: "192.168.1.100", peer: "192.168.1.200", length: 24, single: 32 },
  6: { hub: "fd00:1::100", peer: "fd00:1::200", length: 64, single: 128 },
};
const MARKER = "in the clear";

/** A way to give packets to one destination prefix the if_id 1. */
interface Steerer {
  name: string;
  needs: readonly FeatureName[];
  steer(t: ScenarioContext, hub: Namespace, destination: string): Promise<void>;
}

const lwt: Steerer = {
  name: "lwt",
  needs: LWT_NEEDS,
  async steer(_t, hub, destination) {
    await hub.ip(`route replace ${destination} dev ipsec0 encap xfrm if_id 1`);
  },
};

const bpf: Steerer = {
  name: "bpf",
  needs: BPF_NEEDS,
  async steer(t, hub, destination) {
    await t.steer(hub).apply(hubPolicy({ connections: { peer: `{if_id: 1, subnets: ["${destination}"]}` } }));
  },
};

/** One connection with an inner and an outer family, in a mode that has outer addresses of its own. */
function inMode(steerer: Steerer, mode: "tunnel" | "beet", inner: 4 | 6, outer: 4 | 6): Scenario {
  return scenario({
    name: `${steerer.name}-${mode}-${inner}-in-${outer}`,
    topology: `
            hub                                       peer
    ipsec0 (external)                          ipsec0 (if_id 11)
    IPv${inner}  inner .100                           inner .200
    IPv${outer}  outer .100  v01 =============== v10  outer .200
                          ${mode}
    `,
    needs: steerer.needs,
    async run(t) {
      const hub = t.ns("hub");
      const peer = t.ns("peer");
      const { hub: from, peer: to, length, single } = INNER[inner];
      const outerAddress = await addUplink(t, hub, peer, 1, outer);
      await addExternal(hub, `${from}/${length}`);
      await addXfrm(peer, "ipsec0", 11, `${to}/${length}`);
      await connectEsp({
        a: { ns: hub, address: outerAddress.hub, ifId: 1 },
        b: { ns: peer, address: outerAddress.peer, ifId: 11 },
        mode,
        family: inner,
        spi: 0x100,
        reqid: 1,
        ...(mode === "beet" ? { inner: { a: from, b: to } } : {}),
      });
      const wire = t.capture(hub, "v01");
      const flow = { from: hub, to: peer, address: to, count: 10, marker: MARKER };

      await t.step("without steering nothing passes, and nothing leaves in the clear", async () => {
        t.expect("datagrams received", (await udpFlow({ ...flow, waitMs: LOSS_MS })).received, 0);
        t.expect("ESP packets on the wire", wire.esp(0x100), 0);
        t.expect("plaintext on the wire", wire.count(MARKER), 0);
      });
      await t.step("steered, every packet passes, encrypted", async () => {
        await steerer.steer(t, hub, `${to}/${single}`);
        t.expect("UDP", await udpFlow(flow), { sent: 10, received: 10 });
        t.expect("ping", await hub.ping(to), { sent: 3, received: 3 });
        t.expect("packets per SPI", await packetsBySpi(hub), { "0x100": 13, "0x101": 3 });
        t.expect("ESP packets to the peer on the wire", wire.esp(0x100), 13);
        t.expect("plaintext on the wire", wire.count(MARKER), 0);
      });
    },
  });
}

export const modes: readonly Scenario[] = [
  inMode(lwt, "tunnel", 4, 4),
  inMode(lwt, "tunnel", 6, 6),
  inMode(lwt, "tunnel", 4, 6),
  inMode(lwt, "tunnel", 6, 4),
  inMode(lwt, "beet", 4, 4),
  inMode(lwt, "beet", 6, 6),
  inMode(bpf, "tunnel", 6, 6),
  inMode(bpf, "tunnel", 4, 6),
  inMode(bpf, "tunnel", 6, 4),
  inMode(bpf, "beet", 4, 4),
];
