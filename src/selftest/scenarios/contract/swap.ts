import { type Scenario, scenario } from "../../scenario.js";
import { buildHub, RULES, routeInto, TOPOLOGY } from "./steering.js";
import { policyOf, type Subject } from "./subject.js";

/** A new policy takes over from the old one without a lost packet; one that fails leaves the old one. */
export function swap(subject: Subject): Scenario {
  return scenario({
    name: `contract-${subject.backend}-swap`,
    topology: TOPOLOGY,
    needs: subject.needs,
    async run(t) {
      const { hub, branches } = await buildHub(t, subject);
      const policies = [policyOf(subject, branches, { rules: RULES }), policyOf(subject, branches)] as const;
      await hub.use(async () => {
        await hub.apply(policies[0]);
        await routeInto(hub);
        await t.step("no packet is lost while policies change", async () => {
          const interrupt = new AbortController();
          const total = { sent: 0, received: 0 };
          const traffic = (async () => {
            while (!interrupt.signal.aborted) {
              const { sent, received } = await hub.ns.ping("10.1.0.1", { count: 10 });
              total.sent += sent;
              total.received += received;
            }
          })();
          try {
            for (const number of [2, 3, 4]) {
              const { generation, created } = await hub.apply(policies[(number + 1) % 2] as string);
              t.expect("apply", { generation, created }, { generation: number, created: false });
            }
          } finally {
            interrupt.abort();
            await traffic;
          }
          t.expect("packets received", total.received, total.sent);
          const a = (await hub.status())?.connections[0];
          if (subject.counts) t.expect("counted over all generations", a?.sent.packets, total.sent);
        });
        await t.step("a policy that cannot be applied leaves the running one", async () => {
          const broken = policyOf(subject, branches, { links: { a: "no-such-device" } });
          const failure = await hub.apply(broken).then(() => "applied", String);
          t.expect("says which device", /no-such-device/.test(failure), true);
          t.expect("generation", (await hub.status())?.generation, 4);
          t.expect("ping", await hub.ns.ping("10.1.0.1"), { sent: 3, received: 3 });
        });
      });
    },
  });
}
