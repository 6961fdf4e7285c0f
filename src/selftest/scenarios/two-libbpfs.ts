import { mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { SECOND_LIBBPF } from "../features.js";
import { LOSS_MS } from "../patience.js";
import { scenario } from "../scenario.js";
import { SteeringProcess } from "../steering/process.js";
import { Steering } from "../steering/steering.js";
import { addPeer, BPF_NEEDS, hubPolicy } from "./bpf-hub.js";

const PEER = "192.168.1.200";

export const twoLibbpfs = scenario({
  name: "bpf-two-versions-of-libbpf",
  topology: `
            hub                               peer1
    ipsec0 (external)                  ipsec0 (if_id 11)
    192.168.1.100                      192.168.1.200
    172.16.1.100 v01 ============= v10 172.16.1.200
  `,
  needs: [...BPF_NEEDS, "second-libbpf"],
  typicalMs: 10_000,
  async run(t) {
    const hub = t.ns("hub");
    await addPeer(t, hub, 1, [`${PEER}/24`]);
    const [library] = readdirSync(SECOND_LIBBPF) as [string];
    const policy = (subnet: string) =>
      hubPolicy({
        addresses: ["192.168.1.100/24"],
        connections: { one: `{if_id: 1, subnets: [${subnet}]}` },
      });
    const folder = mkdtempSync(join(tmpdir(), "libbpf-"));
    symlinkSync(join(SECOND_LIBBPF, library), join(folder, "libbpf.so.1"));
    const other = new SteeringProcess({ LD_LIBRARY_PATH: folder });
    try {
      const second = new Steering(hub, { process: other });
      await t.step("the system's sets up", async () => {
        await t.steer(hub).apply(policy("10.0.0.0/8"));
        t.expect("ping", await hub.ping(PEER, { waitMs: LOSS_MS }), { sent: 3, received: 0 });
      });
      await t.step(`${library} swaps what the system's has pinned`, async () => {
        const { generation, created } = await second.apply(policy(PEER));
        t.expect("applied", { generation, created }, { generation: 2, created: false });
        const mapped = readFileSync(`/proc/${other.pid}/maps`, "utf8");
        t.expect(`uses ${library}`, mapped.includes(join(SECOND_LIBBPF, library)), true);
        t.expect("ping", await hub.ping(PEER), { sent: 3, received: 3 });
        t.expect("sent", (await second.status()).connections[0]?.sent.packets, 3);
      });
      await t.step("each reads and unloads what the other has set up", async () => {
        t.expect("sent", (await t.steer(hub).status()).connections[0]?.sent.packets, 3);
        t.expect("unloaded by the system's", await t.steer(hub).unload(), true);
        t.expect("set up", (await second.apply(policy(PEER))).created, true);
        t.expect("ping", await hub.ping(PEER), { sent: 3, received: 3 });
        t.expect("unloaded", await second.unload(), true);
        t.expect("devices", [...(await hub.links()).keys()], ["lo", "v01"]);
      });
    } finally {
      await other.end();
      rmSync(folder, { recursive: true });
    }
  },
});
