import { scenario } from "../../scenario.js";
import { kernelBpf } from "../contract/kernel-subject.js";
import { Hub, policyOf } from "../contract/subject.js";

/** Which devices an apply takes, and how it leaves one that it found. */
export const foundDevice = scenario({
  name: "kernel-bpf-device-that-was-there",
  topology: `
    hub: ipsec0, made by somebody else
  `,
  needs: kernelBpf.needs,
  async run(t) {
    const ns = t.ns("hub");
    const hub = new Hub(ns);
    const policy = policyOf(kernelBpf, [], {
      addresses: ["10.0.0.1/32", "10.0.0.9/32"],
      connections: ["  a: {if_id: 1, subnets: [10.1.0.0/24]}"],
    });
    const refusal = () => hub.apply(policy).then(() => "applied", String);
    const settings = async () => {
      const { stdout } = await ns.exec("ip", "-j", "address", "show", "dev", "ipsec0");
      const [device] = JSON.parse(stdout) as [
        { mtu: number; flags: string[]; addr_info: { local: string }[] },
      ];
      const { mtu, flags, addr_info } = device;
      const disableXfrm = (await ns.exec("cat", "/proc/sys/net/ipv4/conf/ipsec0/disable_xfrm")).stdout.trim();
      const addresses = addr_info.map(({ local }) => local);
      return { mtu, up: flags.includes("UP"), disableXfrm, addresses };
    };
    await hub.use(async () => {
      await t.step("one of another kind is refused and left alone", async () => {
        for (const kind of ["dummy", "xfrm if_id 7"]) {
          await ns.ip(`link add ipsec0 type ${kind}`);
          t.expect(kind, /not an external xfrm interface/.test(await refusal()), true);
          await ns.ip("link del ipsec0");
        }
      });
      await t.step("a second external one is refused by the name of the first", async () => {
        await ns.ip("link add other0 type xfrm external");
        t.expect("says which", /already, other0,/.test(await refusal()), true);
        await ns.ip("link del other0");
        t.expect("status", await hub.status(), null);
      });
      await t.step("an external one is used, and given back as it was", async () => {
        await ns.ip("link add ipsec0 type xfrm external\naddr add 10.0.0.9/32 dev ipsec0");
        await ns.ip("link set ipsec0 mtu 1400");
        const before = await settings();
        await hub.apply(policy);
        const during = { mtu: 1438, up: true, disableXfrm: "1", addresses: ["10.0.0.9", "10.0.0.1"] };
        t.expect("settings while it steers", await settings(), during);
        t.expect("unloaded", await hub.unload(), true);
        t.expect("settings after it", await settings(), before);
      });
      await t.step("one with a queue is refused: packets in it would get each other's if_id", async () => {
        await ns.ip("link del ipsec0\nlink add ipsec0 type xfrm external");
        const queue = (action: string) =>
          ns.exec("tc", ..."qdisc ACTION dev ipsec0 root pfifo".replace("ACTION", action).split(" "));
        t.expect("tc", (await queue("add")).status, 0);
        t.expect("says which", /ipsec0 has a queueing discipline, pfifo,/.test(await refusal()), true);
        await queue("delete");
        await hub.apply(policy);
        t.expect("while up", (await queue("add")).status, 0);
        t.expect("says which", /ipsec0 has a queueing discipline, pfifo,/.test(await refusal()), true);
        await queue("delete");
      });
      await t.step("one that was renamed runs on, and is not taken for gone", async () => {
        await ns.ip("link set ipsec0 name ipsec9");
        t.expect("says so", /was ipsec0 is called ipsec9 now/.test(await refusal()), true);
        await ns.ip("link set ipsec9 name ipsec0");
        t.expect("generation", (await hub.status())?.generation, 1);
      });
      await t.step("put down, it loses the addresses that a policy no longer names", async () => {
        await ns.ip("link set ipsec0 down");
        await hub.apply(
          policyOf(kernelBpf, [], {
            addresses: ["10.0.0.2/32"],
            connections: ["  a: {if_id: 1, subnets: [10.1.0.0/24]}"],
          }),
        );
        const { up, addresses } = await settings();
        t.expect("settings", { up, addresses }, { up: true, addresses: ["10.0.0.2"] });
        t.expect("unloaded", await hub.unload(), true);
        t.expect("nothing of it is left", (await settings()).addresses, []);
      });
      await t.step("one that was deleted under it is made again", async () => {
        await ns.ip("link del ipsec0");
        t.expect("first", (await hub.apply(policy)).created, true);
        await ns.ip("link del ipsec0");
        t.expect("status", await hub.status(), null);
        const { generation, created } = await hub.apply(policy);
        t.expect("second", { generation, created }, { generation: 1, created: true });
      });
    });
  },
});
