import { spawnSync } from "node:child_process";
import { once } from "node:events";
import { cliPath } from "../../../sys/paths.js";
import type { Namespace } from "../../namespace.js";
import { LOSS_MS } from "../../patience.js";
import { type Scenario, scenario } from "../../scenario.js";
import { udpFlow } from "../../traffic.js";
import { connectEsp } from "../../xfrm.js";
import { kernelBpf, kernelLwt } from "../contract/kernel-subject.js";
import { buildHub, TOPOLOGY } from "../contract/steering.js";
import { policyOf, type Subject } from "../contract/subject.js";
import { userspace } from "../contract/userspace-subject.js";
import { addUplink } from "../hub.js";

const COUNT = 5;
const ALL = { sent: COUNT, received: COUNT };
const NONE = { sent: COUNT, received: 0 };
/** Of a's subnets, on a's underlay device. */
const FORGED = { 4: "10.1.0.66", 6: "fd00:1::66" } as const;
/** The same, with an SA that has no if_id. */
const PLAIN_SA = "10.1.0.67";
const IKE = 500;

/** Ends every process in a namespace as the OOM killer does. */
function killAll({ handle }: Namespace): void {
  const { stdout } = spawnSync("ip", ["netns", "pids", handle], { encoding: "utf8" });
  for (const pid of stdout.split("\n").filter(Boolean)) process.kill(Number(pid), "SIGKILL");
}

function underlayPlaintext(subject: Subject): Scenario {
  const isKernel = subject.backend !== "userspace";
  return scenario({
    name: `faults-underlay-plaintext-${subject.backend}`,
    topology: `${TOPOLOGY}
    172.16.3.100 v03 ================= v30 172.16.3.200, of a too
    10.5.0.1     l0  ================= l1  10.5.0.2, of lan

    a sends in the clear, from ${FORGED[4]} and ${FORGED[6]}, what claims to have come through its tunnel.
    `,
    needs: subject.needs,
    typicalMs: 30_000,
    async run(t) {
      const { hub, branches } = await buildHub(t, subject);
      const [{ peer: a }] = branches;
      const { ns } = hub;
      const lan = t.ns("lan");
      await t.veth(
        { ns, device: "l0", addresses: ["10.5.0.1/24"] },
        { ns: lan, device: "l1", addresses: ["10.5.0.2/24"] },
      );
      await addUplink(t, ns, a, 3);
      for (const device of ["all", "v01", "v03"]) ns.sysctl(`net/ipv4/conf/${device}/rp_filter`, 0);
      ns.sysctl("net/ipv4/conf/all/forwarding", 1);
      await ns.ip("addr add fd00:16:1::100/64 dev v01 nodad");
      await a.ip(`addr add ${FORGED[4]}/32 dev v10
        addr add ${FORGED[6]}/128 dev v10 nodad
        addr add fd00:16:1::200/64 dev v10 nodad
        route add 10.5.0.0/24 via 172.16.1.100 dev v10`);
      const policy = policyOf(subject, branches, { device: "routes: true" });
      const send = (
        source: string,
        address: string,
        received: number,
        more: { to?: Namespace; port?: number } = {},
      ) =>
        udpFlow({
          ...{ from: a, source, to: ns, address, count: COUNT, ...more },
          waitMs: received === 0 ? LOSS_MS : undefined,
        });
      const refused = (address: string, to: Namespace, source: string = FORGED[4]) =>
        send(source, address, 0, { to });
      const passes = (source: string, address: string, port?: number) =>
        send(source, address, COUNT, port === undefined ? {} : { port });
      const devices = async () => (await hub.status())?.underlay?.devices;
      const counted = async () => (await hub.status())?.drops.plaintextFromUnderlay;

      await hub.use(async () => {
        await hub.apply(policy);

        t.expect("devices", await devices(), ["v01", "v02"]);
        await t.step("plaintext of a's sources is refused, and counted", async () => {
          t.expect("to the hub", await refused("172.16.1.100", ns), NONE);
          t.expect("through the hub", await refused("10.5.0.2", lan), NONE);
          t.expect("IPv6", await refused("fd00:16:1::100", ns, FORGED[6]), NONE);
          t.expect("refused", await counted(), 3 * COUNT);
        });
        await t.step("what is not a's, IKE and ICMP pass", async () => {
          t.expect("a's outer address", await passes("172.16.1.200", "172.16.1.100"), ALL);
          t.expect("IKE", await passes(FORGED[4], "172.16.1.100", IKE), ALL);
          const ping = await a.ping("172.16.1.100", { args: ["-I", FORGED[4]] });
          t.expect("ping", ping, { sent: 3, received: 3 });
          t.expect("refused", await counted(), 3 * COUNT);
        });
        await t.step("the tunnel's own packets pass", async () => {
          t.expect("ping", await ns.ping("10.1.0.1"), { sent: 3, received: 3 });
          t.expect("IPv6", await ns.ping("fd00:1::1"), { sent: 3, received: 3 });
          t.expect("refused", await counted(), 3 * COUNT);
        });
        const following = isKernel ? ns.start(process.execPath, cliPath, "follow", "ipsec0") : null;
        if (following) {
          let said = "";
          following.stderr?.on("data", (text: Buffer) => {
            said += text;
          });
          await t.eventually("follows", async () => said.includes("following"), true, 120_000);
        }
        await t.step("the programs follow the route", async () => {
          await ns.ip("route add 172.16.1.200/32 via 172.16.3.200 dev v03");
          await t.eventually("devices", devices, ["v02", "v03"], 30_000);
          t.expect("by the new device", await refused("172.16.3.100", ns), NONE);
          t.expect("refused", await counted(), 4 * COUNT);
        });
        await t.step("a device that vanishes is no error", async () => {
          await ns.ip("link del v03");
          await t.eventually("devices", devices, ["v01", "v02"], 30_000);
          t.expect("by the former device", await refused("172.16.1.100", ns), NONE);
          t.expect("refused", await counted(), 5 * COUNT);
        });
        await t.step("an apply that fails leaves the programs", async () => {
          const wrong = policy
            .replace('"10.0.0.1/32"', '"10.0.0.1/32", "ff02::77/128"')
            .replace("10.1.0.0/24", "10.7.0.0/24");
          const failure = await hub.apply(wrong).then(
            () => null,
            (error: Error) => error.message,
          );
          t.expect("it failed", failure !== null, true);
          t.expect("to the hub", await refused("172.16.1.100", ns), NONE);
          t.expect("refused", await counted(), 6 * COUNT);
        });
        await t.step(
          "after kill -9 of every process of the gateway they refuse, and go on counting",
          async () => {
            killAll(ns);
            if (following) await once(following, "exit");
            t.expect("to the hub", await refused("172.16.1.100", ns), NONE);
            t.expect("through the hub", await refused("10.5.0.2", lan), NONE);
            await hub.apply(policy);
            t.expect("refused", await counted(), 8 * COUNT);
          },
        );
        await t.step("unload takes them away", async () => {
          await hub.unload();
          t.expect("to the hub", await passes(FORGED[4], "172.16.1.100"), ALL);
        });
      });
    },
  });
}

/**
 * Packets of an SA without an if_id come back where they came in. Not where an external interface is up, which takes them
 * (xfrmi_lookup in net/xfrm/xfrm_interface_core.c): so the userspace backend, beside SAs of the kernel.
 */
const withoutIfId = scenario({
  name: "faults-underlay-plaintext-sa-without-if-id",
  topology: TOPOLOGY,
  needs: ["esp"],
  async run(t) {
    const { hub, branches } = await buildHub(t, userspace);
    const [{ peer: a }] = branches;
    const { ns } = hub;
    for (const device of ["all", "v01"]) ns.sysctl(`net/ipv4/conf/${device}/rp_filter`, 0);
    await a.ip(`addr add ${PLAIN_SA}/32 dev v10\naddr add ${FORGED[4]}/32 dev v10`);
    const send = (source: string, waitMs?: number) =>
      udpFlow({ from: a, source, to: ns, address: "172.16.1.100", count: COUNT, waitMs });
    await hub.use(async () => {
      await hub.apply(policyOf(userspace, branches, { device: "routes: true" }));
      await connectEsp({
        a: { ns, address: "172.16.1.100", selector: "172.16.1.100/32" },
        b: { ns: a, address: "172.16.1.200", selector: `${PLAIN_SA}/32` },
        ...{ spi: 0x9000, reqid: 900 },
      });
      const wire = t.capture(ns, "v01");
      t.expect("by the SA", await send(PLAIN_SA), ALL);
      t.expect("ESP packets", wire.esp(0x9001), COUNT);
      t.expect("in the clear", await send(FORGED[4], LOSS_MS), NONE);
      t.expect("refused", (await hub.status())?.drops.plaintextFromUnderlay, COUNT);
    });
  },
});

/** Plaintext from the underlay is not taken for what came through the tunnel. */
export const underlayPlaintexts: readonly Scenario[] = [
  ...[userspace, kernelBpf, kernelLwt].map(underlayPlaintext),
  withoutIfId,
];
