import { connectEsp, scenario, udpFlow } from "xfrm-steer/selftest";

const POLICY = `
version: 1
backend: kernel-bpf
interface: {name: ipsec0, addresses: [10.0.0.1/32]}
connections:
  office: {if_id: 7, subnets: [10.1.0.0/24]}
rules:
  - {name: no-telnet, match: {proto: tcp, dport: 23}, to: drop}
`;

export default scenario({
  name: "office-is-reached-by-if-id-7",
  topology: `
            gateway                           office
    ipsec0 (external)                  ipsec0 (if_id 70)
    10.0.0.1                           10.1.0.1
    192.0.2.1 wan ================ wan 192.0.2.2
  `,
  needs: ["esp", "xfrm-external", "bpf-kfunc"],
  async run(t) {
    const [gateway, office] = [t.ns("gateway"), t.ns("office")];
    await t.veth(
      { ns: gateway, device: "wan", addresses: ["192.0.2.1/24"] },
      { ns: office, device: "wan", addresses: ["192.0.2.2/24"] },
    );
    await office.ip(`link add ipsec0 type xfrm if_id 70
      addr add 10.1.0.1/24 dev ipsec0
      link set ipsec0 up
      route add 10.0.0.1/32 dev ipsec0`);
    await connectEsp({
      a: { ns: gateway, address: "192.0.2.1", ifId: 7 },
      b: { ns: office, address: "192.0.2.2", ifId: 70 },
      spi: 0x700,
      reqid: 7,
    });
    await t.steer(gateway).apply(POLICY);
    await gateway.ip("route add 10.1.0.0/24 dev ipsec0");
    const wire = t.capture(gateway, "wan");

    await t.step("the office answers", async () => {
      t.expect("ping", await gateway.ping("10.1.0.1"), { sent: 3, received: 3 });
    });
    await t.step("nothing leaves in the clear", async () => {
      const flow = { from: gateway, to: office, address: "10.1.0.1", marker: "in the clear" };
      t.expect("datagrams", await udpFlow(flow), { sent: 10, received: 10 });
      t.expect("ESP packets on the wire", wire.esp(0x700), 13);
      t.expect("plaintext on the wire", wire.count("in the clear"), 0);
    });
    await t.step("one SA carried all of it", async () => {
      const [sa] = (await gateway.sas()).filter(({ spi }) => spi === 0x700);
      t.expect("SA", [sa?.ifId, sa?.packets], [7, 13]);
    });
  },
});
