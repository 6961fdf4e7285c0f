import { PATIENCE_MS } from "../patience.js";
import { type Scenario, scenario } from "../scenario.js";
import { addPeer, BPF_NEEDS, hubPolicy } from "./bpf-hub.js";
import { packetsBySpi } from "./hub.js";

/** Header bytes in front of an echo request's payload. */
const HEADERS = { 4: 20 + 8, 6: 40 + 8 };
const NET = {
  4: { lan: "10.0.0.2", hub: "10.0.0.1", length: 24, peer: "192.168.1.200", any: "0.0.0.0/0" },
  6: { lan: "fd00:10::2", hub: "fd00:10::1", length: 64, peer: "fd00:1::200", any: "::/0" },
};
/** What is left of 1500 bytes by outer IPv4, ESP with AES-GCM and its padding to 4 bytes. */
const TUNNEL_MTU = 1446;

function overMtu(family: 4 | 6): Scenario {
  const net = NET[family];
  return scenario({
    name: `bpf-over-mtu-ipv${family}`,
    topology: `
      lan                     hub                               peer1
                       ipsec0 (external, MTU 1500)       ipsec0 (if_id 11)
                                                         ${net.peer}
      v90 ============ v09    172.16.1.100 v01 ===== v10 172.16.1.200
      ${net.lan}

      ipsec0 takes 1500 bytes, but the SA's way has room for less: what cannot be fragmented is answered by ICMP.
    `,
    needs: BPF_NEEDS,
    async run(t) {
      const [lan, hub] = [t.ns("lan"), t.ns("hub")];
      await t.veth(
        { ns: lan, device: "v90", addresses: [`${net.lan}/${net.length}`] },
        { ns: hub, device: "v09", addresses: [`${net.hub}/${net.length}`] },
      );
      hub.sysctl("net/ipv4/ip_forward", 1);
      hub.sysctl("net/ipv6/conf/all/forwarding", 1);
      const { ns: peer } = await addPeer(t, hub, 1, [`${net.peer}/${family === 4 ? 32 : 128}`], { family });
      await lan.ip(`route add ${net.any} via ${net.hub}`);
      await peer.ip(`route add ${net.any} dev ipsec0 mtu ${TUNNEL_MTU}`);
      const connections = { one: `{if_id: 1, subnets: ["${net.peer}"]}` };
      await t.steer(hub).apply(hubPolicy({ mtu: 1500, connections }));
      await hub.ip(`route add ${net.peer} dev ipsec0`);
      const wire = t.capture(hub, "v01");
      /** Sends one echo request of `size` bytes in all. */
      const echo = async (size: number, ...args: string[]) => {
        const payload = `${size - HEADERS[family]}`;
        const wait = `${PATIENCE_MS / 1000}`;
        const words = [...["-n", "-c", "1", "-W", wait, "-s", payload], ...args, net.peer];
        const { stdout } = await lan.exec("ping", ...words);
        return { answered: / 1 received/.test(stdout), mtu: Number(stdout.match(/mtu[ =]+(\d+)/)?.[1] ?? 0) };
      };
      await t.step("what fits passes whole", async () => {
        t.expect("an echo of the tunnel's MTU", await echo(TUNNEL_MTU, "-M", "do"), {
          answered: true,
          mtu: 0,
        });
        t.expect("ESP packets", wire.esp(0x100), 1);
      });
      await t.step("what does not is answered by ICMP with the MTU, and not sent", async () => {
        t.expect("an echo of two bytes more", await echo(TUNNEL_MTU + 2, "-M", "do"), {
          answered: false,
          mtu: TUNNEL_MTU,
        });
        t.expect("ESP packets", wire.esp(0x100), 1);
      });
      await t.step("its sender has learnt the MTU and fragments", async () => {
        const route = await lan.ip(`route get ${net.peer}`);
        t.expect("the sender's route", Number(route.match(/mtu (\d+)/)?.[1]), TUNNEL_MTU);
        t.expect("an echo of 1500 bytes", await echo(1500, "-M", "want"), { answered: true, mtu: 0 });
        t.expect("packets per SPI", await packetsBySpi(hub), { "0x100": 3, "0x101": 3 });
      });
    },
  });
}

export const pmtu: readonly Scenario[] = [overMtu(4), overMtu(6)];
