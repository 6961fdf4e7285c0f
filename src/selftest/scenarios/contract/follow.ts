import { once } from "node:events";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { cliPath } from "../../../sys/paths.js";
import { LOSS_MS } from "../../patience.js";
import { type Scenario, scenario } from "../../scenario.js";
import { udpFlow } from "../../traffic.js";
import { buildHub, routeInto, TOPOLOGY } from "./steering.js";
import { policyOf, type Subject } from "./subject.js";

/** What a generation that is applied anew has to keep, of the backend that takes it: bulk flows, and a device group. */
const FLOW = { source: "10.0.0.1", sourcePort: 5000, address: "10.1.0.77", port: 5001 };
const FLOWS = `src,dst,proto,sport,dport,connection\n${FLOW.source},${FLOW.address},udp,${FLOW.sourcePort},${FLOW.port},b\n`;
const GROUP_RULE = "{name: lan, match: {iif: 'group:7'}, to: b}";

/** Emulated, the command takes seconds to start. */
const FOLLOW_MS = 120_000;

/** A `link` that is removed and made again has another ifindex; `xfrm-steer follow` applies it. */
export function follow(subject: Subject): Scenario {
  return scenario({
    name: `contract-${subject.backend}-follow`,
    topology: `${TOPOLOGY}
    v01 is in vrf1, which is the link of a.
    `,
    needs: subject.linkNeeds,
    typicalMs: 10_000,
    async run(t) {
      const { hub, branches } = await buildHub(t, subject);
      const { ns } = hub;
      const takesAll = subject.backend === "kernel-bpf";
      const addVrf = () =>
        ns.ip(`link add vrf1 type vrf table 101
          link set vrf1 up
          link set v01 master vrf1
          route replace 172.16.1.200/32 dev v01 table 101`);
      const wire = t.capture(ns, "v01");
      const send = async () => {
        await ns.ping("10.1.0.1", { count: 2, waitMs: LOSS_MS });
        return wire.esp(0x1000);
      };
      const generation = async () => (await hub.status())?.generation;
      await hub.use(async () => {
        await addVrf();
        writeFileSync(join(hub.folder, "flows.csv"), FLOWS);
        const more = takesAll ? { rules: [GROUP_RULE] } : {};
        const policy = policyOf(subject, branches, { links: { a: "vrf1" }, ...more });
        await hub.apply(takesAll ? `${policy}flows: flows.csv\n` : policy);
        await routeInto(hub);
        t.expect("ESP packets by the link", await send(), 2);

        await t.step("nobody follows: nothing leaves by the link that was made again", async () => {
          await ns.ip("link del vrf1");
          await addVrf();
          t.expect("ESP packets by the link", await send(), 2);
        });
        const following = ns.start(process.execPath, cliPath, "follow", "ipsec0");
        let said = "";
        following.stderr?.on("data", (text: Buffer) => {
          said += text;
        });
        await t.step("what changed before follow started is caught up with", async () => {
          const lastLine = async () => said.trim().split("\n").at(-1);
          await t.eventually("says that it follows", lastLine, "following the devices of ipsec0", FOLLOW_MS);
          t.expect("generation", await generation(), 2);
          t.expect("ESP packets by the link", await send(), 4);
        });
        await t.step("the link is made again, and used", async () => {
          await ns.ip("link del vrf1");
          await addVrf();
          await t.eventually("generation", generation, 3, FOLLOW_MS);
          t.expect("ESP packets by the link", await send(), 6);
        });
        if (takesAll) {
          await t.step("a device joins a group that a rule names", async () => {
            await ns.ip("link set v02 group 7");
            await t.eventually("generation", generation, 4, FOLLOW_MS);
          });
          await t.step("the flows are still led where their file says", async () => {
            const count = 5;
            const flow = await udpFlow({ ...FLOW, from: ns, to: branches[1].peer, count });
            t.expect("datagrams to b", flow, { sent: count, received: count });
          });
          await t.step("one that was taken out stays so when a device changes", async () => {
            const row = join(hub.folder, "row.csv");
            writeFileSync(row, FLOWS.replace(",connection", "").replace(",b", ""));
            const command = `exec '${process.execPath}' '${cliPath}' flow del ipsec0 < '${row}'`;
            const { stdout, stderr } = await ns.exec("sh", "-c", command);
            t.expect("flow del", stdout + stderr, "deleted 1 flows\n");
            t.expect("generation", await generation(), 5);
            await ns.ip("link set v02 group 0");
            await t.eventually("generation", generation, 6, FOLLOW_MS);
            const count = 5;
            const flow = await udpFlow({ ...FLOW, from: ns, to: branches[0].peer, count });
            t.expect("datagrams to a", flow, { sent: count, received: count });
          });
        }
        const ended = once(following, "exit");
        following.kill("SIGTERM");
        t.expect("follow's exit status", await ended, [0, null]);
      });
    },
  });
}
