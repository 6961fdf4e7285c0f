import { once } from "node:events";
import { join } from "node:path";
import { packageRoot } from "../../../sys/paths.js";
import { type Scenario, scenario } from "../../scenario.js";
import { buildHub, routeInto, TOPOLOGY } from "./steering.js";
import { policyOf, type Subject } from "./subject.js";

const CLI = join(packageRoot, "bin", "xfrm-steer.js");

/** A `link` that is removed and made again has another ifindex; `xfrm-steer follow` applies it. */
export function follow(subject: Subject): Scenario {
  return scenario({
    name: `contract-${subject.backend}-follow`,
    topology: `${TOPOLOGY}
    v01 is in vrf1, which is the link of a.
    `,
    needs: subject.linkNeeds,
    limitMs: 150_000,
    typicalMs: 15_000,
    async run(t) {
      const { hub, branches } = await buildHub(t, subject);
      const { ns } = hub;
      const addVrf = () =>
        ns.ip(`link add vrf1 type vrf table 101
          link set vrf1 up
          link set v01 master vrf1
          route replace 172.16.1.200/32 dev v01 table 101`);
      const wire = t.capture(ns, "v01");
      const send = async () => {
        await ns.ping("10.1.0.1", { count: 2, waitMs: 50 });
        return wire.esp(0x1000);
      };
      const generation = async () => (await hub.status())?.generation;
      await hub.use(async () => {
        await addVrf();
        await hub.apply(policyOf(subject, branches, { links: { a: "vrf1" } }));
        await routeInto(hub);
        t.expect("ESP packets by the link", await send(), 2);

        await t.step("nobody follows: nothing leaves by the link that was made again", async () => {
          await ns.ip("link del vrf1");
          await addVrf();
          t.expect("ESP packets by the link", await send(), 2);
        });
        const following = ns.start(process.execPath, CLI, "follow", "ipsec0");
        let said = "";
        following.stderr?.on("data", (text: Buffer) => {
          said += text;
        });
        await t.step("what changed before follow started is caught up with", async () => {
          const lastLine = async () => said.trim().split("\n").at(-1);
          await t.eventually("says that it follows", lastLine, "following the devices of ipsec0", 40_000);
          t.expect("generation", await generation(), 2);
          t.expect("ESP packets by the link", await send(), 4);
        });
        await t.step("the link is made again, and used", async () => {
          await ns.ip("link del vrf1");
          await addVrf();
          await t.eventually("generation", generation, 3, 40_000);
          t.expect("ESP packets by the link", await send(), 6);
        });
        const ended = once(following, "exit");
        following.kill("SIGTERM");
        t.expect("follow's exit status", await ended, [0, null]);
      });
    },
  });
}
