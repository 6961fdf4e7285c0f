import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { cliPath } from "../../../sys/paths.js";
import type { Branch, Subject } from "./subject.js";

/** The `esp` of one end: its own outer address first. */
function espOf(local: string, remote: string, out: [number, string], back: [number, string]): string {
  const sa = ([spi, key]: [number, string]) => `{spi: ${spi}, key: "file:${key}"}`;
  return `esp: {local: "${local}", remote: "${remote}", suite: aes128-gcm, out: ${sa(out)}, in: ${sa(back)}}`;
}

const toPeer = ({ name }: Branch) => `keys/${name}-to-peer.key`;
const toHub = ({ name }: Branch) => `keys/${name}-to-hub.key`;

/** Both ends in userspace: the peer's runs in the foreground of its namespace and ends with it. */
export const userspace: Subject = {
  backend: "userspace",
  needs: [],
  linkNeeds: [],
  separateUplinks: async () => {},
  counts: true,
  esp: (branch) =>
    espOf(branch.outer.hub, branch.outer.peer, [branch.spi, toPeer(branch)], [branch.spi + 1, toHub(branch)]),
  async connect(branch, folder) {
    mkdirSync(join(folder, "keys"), { recursive: true });
    for (const key of [toPeer(branch), toHub(branch)])
      writeFileSync(join(folder, key), randomBytes(20).toString("hex"), { mode: 0o600 });
    const { hub, peer } = branch.outer;
    const esp = espOf(peer, hub, [branch.spi + 1, toHub(branch)], [branch.spi, toPeer(branch)]);
    const addresses = branch.inner.map((address) => `"${address}"`).join(", ");
    const file = join(folder, `${branch.name}.yaml`);
    writeFileSync(
      file,
      `version: 1
interface: {name: ipsec0, addresses: [${addresses}]}
connections:
  hub: {if_id: ${branch.ifId + 10}, subnets: ["0.0.0.0/0", "::/0"], ${esp}}
`,
    );
    const service = branch.peer.start(process.execPath, cliPath, "run", file, "--json");
    let said = "";
    service.stderr?.on("data", (text: Buffer) => {
      said += text;
    });
    const up = once(service.stdout as NodeJS.ReadableStream, "data");
    const over = once(service, "exit").then(([status]) => {
      throw new Error(`the peer of ${branch.name} ended with ${status}: ${said}`);
    });
    over.catch(() => {});
    await Promise.race([up, over]);
    await branch.peer.ip("route add 10.0.0.1/32 dev ipsec0\nroute add fd00::1/128 dev ipsec0");
  },
};
