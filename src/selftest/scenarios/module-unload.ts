import { existsSync } from "node:fs";
import { scenario } from "../scenario.js";
import { addPeer, BPF_NEEDS, hubPolicy } from "./bpf-hub.js";
import { addXfrm } from "./hub.js";

const PEER = "192.168.1.200";

export const moduleUnload = scenario({
  name: "bpf-module-unload-while-loaded",
  topology: `
            hub                               peer1
    ipsec0 (external)                  ipsec0 (if_id 11)
    192.168.1.100                      192.168.1.200
    172.16.1.100 v01 ============= v10 172.16.1.200

    A loaded program that calls a module's kfuncs holds the module.
  `,
  needs: [...BPF_NEEDS, "own-kernel"],
  async run(t) {
    const hub = t.ns("hub");
    const { ns: peer } = await addPeer(t, hub, 1, [`${PEER}/24`]);
    const connections = { one: `{if_id: 1, subnets: [${PEER}]}` };
    const policy = hubPolicy({ addresses: ["192.168.1.100/24"], connections });
    const isLoaded = () => existsSync("/sys/module/xfrm_interface");
    const unloadModule = async () => (await hub.exec("rmmod", "xfrm_interface")).status === 0;
    await t.step("while the programs are loaded the module cannot go", async () => {
      await t.steer(hub).apply(policy);
      t.expect("unloaded", [await unloadModule(), isLoaded()], [false, true]);
      t.expect("ping", await hub.ping(PEER), { sent: 3, received: 3 });
    });
    await t.step("after an unload of ours it can", async () => {
      await t.steer(hub).unload();
      // The kernel frees programs a little after the last reference is gone.
      await t.eventually("unloaded", unloadModule, true);
      t.expect("loaded", isLoaded(), false);
    });
    await t.step("an apply loads it again", async () => {
      t.expect("created", (await t.steer(hub).apply(policy)).created, true);
      t.expect("loaded", isLoaded(), true);
      await addXfrm(peer, "ipsec0", 11, `${PEER}/24`);
      t.expect("ping", await hub.ping(PEER), { sent: 3, received: 3 });
    });
  },
});
