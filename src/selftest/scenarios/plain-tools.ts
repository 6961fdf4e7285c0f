import { join } from "node:path";
import { bpfObjectPath } from "../../sys/paths.js";
import { LOSS_MS } from "../patience.js";
import { scenario } from "../scenario.js";
import { addPeer, BPF_NEEDS } from "./bpf-hub.js";
import { addExternal } from "./hub.js";

const PEER = "192.168.1.200";

export const plainTools = scenario({
  name: "bpf-objects-load-with-tc-and-bpftool",
  topology: `
            hub                               peer1
    ipsec0 (external)                  ipsec0 (if_id 11)
    192.168.1.100                      192.168.1.200
    172.16.1.100 v01 ============= v10 172.16.1.200

    A route gives packets their metadata. Our object without a rule set drops whatever it sees.
  `,
  needs: [...BPF_NEEDS, "lwt-xfrm", "bpftool"],
  async run(t) {
    const hub = t.ns("hub");
    await addPeer(t, hub, 1, [`${PEER}/24`]);
    await addExternal(hub, "192.168.1.100/24");
    await hub.ip(`route add ${PEER} dev ipsec0 encap xfrm if_id 1`);
    const object = bpfObjectPath("steer_xfrm");
    const run = async (tool: string, words: string) => {
      const { status, stdout, stderr } = await hub.exec(tool, ...words.split(" "));
      t.expect(`${tool} ${words}`, [status, stderr], [0, ""]);
      return stdout;
    };
    await t.step("tc attaches and shows it; it takes effect, and ends with its filter", async () => {
      t.expect("ping before", await hub.ping(PEER), { sent: 3, received: 3 });
      await run("tc", "qdisc add dev ipsec0 clsact");
      await run(
        "tc",
        `filter add dev ipsec0 egress prio 1 bpf direct-action object-file ${object} program xfrm_egress`,
      );
      const shown = await run("tc", "filter show dev ipsec0 egress");
      t.expect("shown", /direct-action.* id \d+/.test(shown), true);
      t.expect("ping with it", await hub.ping(PEER, { waitMs: LOSS_MS }), { sent: 3, received: 0 });
      await run("tc", "filter del dev ipsec0 egress");
      t.expect("ping after it", await hub.ping(PEER), { sent: 3, received: 3 });
    });
    await t.step("bpftool loads and shows it", async () => {
      const pins = join("/sys/fs/bpf", hub.handle);
      await run("bpftool", `prog loadall ${object} ${pins}`);
      try {
        for (const program of ["xfrm_egress", "xfrm_ingress"]) {
          const shown = JSON.parse(await run("bpftool", `-j prog show pinned ${join(pins, program)}`));
          t.expect(program, [shown.type, shown.name], ["sched_cls", program]);
        }
      } finally {
        await run("rm", `-r ${pins}`);
      }
    });
  },
});
