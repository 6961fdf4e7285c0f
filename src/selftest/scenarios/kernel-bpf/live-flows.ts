import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { cliPath } from "../../../sys/paths.js";
import { LOSS_MS } from "../../patience.js";
import { scenario } from "../../scenario.js";
import { udpFlow } from "../../traffic.js";
import { kernelBpf } from "../contract/kernel-subject.js";
import { buildHub, routeInto, TOPOLOGY } from "../contract/steering.js";
import { policyOf } from "../contract/subject.js";

/** Both peers have the address; by the subnets it is a's. */
const FLOW = { source: "10.0.0.1", sourcePort: 5000, address: "10.1.0.77", port: 5001 };
const ROW = `${FLOW.source},${FLOW.address},udp,${FLOW.sourcePort},${FLOW.port}`;
const HEADER = "src,dst,proto,sport,dport,connection";

/** `xfrm-steer flow` on what a kernel backend runs, without a process of ours. */
export const liveFlows = scenario({
  name: "kernel-bpf-live-flows",
  topology: TOPOLOGY,
  needs: kernelBpf.needs,
  typicalMs: 20_000,
  async run(t) {
    const { hub, branches } = await buildHub(t, kernelBpf);
    const [a, b] = branches;
    const policies = [policyOf(kernelBpf, [a, b]), policyOf(kernelBpf, [b, a])] as const;
    /** What arrives of three datagrams of the flow, and of two of its neighbour. */
    const arrives = async (at: typeof a, waitMs?: number) => {
      const flow = { ...FLOW, from: hub.ns, to: at.peer, waitMs };
      const own = await udpFlow({ ...flow, count: 3 });
      const neighbour = await udpFlow({ ...flow, sourcePort: FLOW.sourcePort + 1, to: a.peer, count: 2 });
      return [own.received, neighbour.received];
    };
    const flow = async (action: string, rows: string) => {
      const file = join(hub.folder, "rows.csv");
      writeFileSync(file, rows);
      const { stdout, stderr } = await hub.ns.exec(
        ...["sh", "-c", `exec '${process.execPath}' '${cliPath}' flow ${action} ipsec0 < '${file}'`],
      );
      return stdout + stderr;
    };
    await hub.use(async () => {
      await hub.apply(policies[0]);
      await routeInto(hub);
      await t.step("by the subnets it is a's", async () => {
        t.expect("at a", await arrives(a), [3, 2]);
        t.expect("at b", await arrives(b, LOSS_MS), [0, 2]);
      });
      await t.step("added, it is b's at once, and no other flow is", async () => {
        t.expect("flow add", await flow("add", `${HEADER}\n${ROW},b\n`), "added 1 flows\n");
        t.expect("at b", await arrives(b), [3, 2]);
      });
      await t.step("it stays b's where another policy is applied", async () => {
        await hub.apply(policies[1]);
        t.expect("at b", await arrives(b), [3, 2]);
        t.expect("flow list", await flow("list", ""), `${HEADER}\n${ROW},b\n`);
      });
      await t.step("deleted, it is a's again", async () => {
        t.expect(
          "flow del",
          await flow("del", `${HEADER.replace(",connection", "")}\n${ROW}\n`),
          "deleted 1 flows\n",
        );
        t.expect("at a", await arrives(a), [3, 2]);
      });
    });
  },
});
