import { scenario } from "../../scenario.js";
import { kernelBpf } from "../contract/kernel-subject.js";
import { buildHub, RULES, routeInto, TOPOLOGY } from "../contract/steering.js";
import { policyOf } from "../contract/subject.js";
import { packetsBySpi } from "../hub.js";

const SWAPS = 200;
const ECHOES = 25_000;

/** Flood ping sends the next echo when the last one is answered: no queue overflows, so that each loss is a swap's. */
export const manySwaps = scenario({
  name: "kernel-bpf-200-swaps-under-50000-packets",
  topology: TOPOLOGY,
  needs: kernelBpf.needs,
  limitMs: 220_000,
  async run(t) {
    const { hub, branches } = await buildHub(t, kernelBpf);
    const policies = [policyOf(kernelBpf, branches, { rules: RULES }), policyOf(kernelBpf, branches)];
    await hub.use(async () => {
      await hub.apply(policies[0] as string);
      await routeInto(hub);
      const total = { sent: 0, received: 0 };
      let swaps = 0;
      const started = performance.now();
      const traffic = async () => {
        while (total.sent < ECHOES || swaps < SWAPS) {
          const { sent, received } = await hub.ns.ping("10.1.0.1", { count: 1_000, args: ["-f"] });
          total.sent += sent;
          total.received += received;
        }
      };
      const swapping = async () => {
        for (; swaps < SWAPS; swaps++) {
          await hub.apply(policies[(swaps + 1) % 2] as string);
          if (swaps % 25 === 24) t.note(`${swaps + 1} swaps, ${total.sent} echoes`);
        }
      };
      await Promise.all([traffic(), swapping()]);
      t.note(`${swaps} swaps and ${total.sent} echoes in ${Math.round(performance.now() - started)} ms`);
      t.expect("answers", total.received, total.sent);
      const status = await hub.status();
      t.expect("generation", status?.generation, SWAPS + 1);
      t.expect("counted", status?.connections[0]?.sent.packets, total.sent);
      const spis = { "0x1000": total.sent, "0x1001": total.sent };
      t.expect("packets per SPI: all by a's SAs, none by b's", await packetsBySpi(hub.ns), spis);
    });
  },
});
