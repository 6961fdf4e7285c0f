import { spawnSync } from "node:child_process";
import { generateKeyPairSync } from "node:crypto";
import { ip } from "../sys/ip.js";
import { type EspTopology, INNER, OUTER, SIDES, type Side, untilReady } from "./esp-topology.js";

const DEVICE = "wg0";
const PORT = 51820;

/** wireguard-go at both ends, configured through its own control socket by `wg`. */
export async function startWireguardGo(topology: EspTopology): Promise<void> {
  for (const [command, name] of [
    ["wireguard-go", "wireguard-go"],
    ["wg", "wireguard-tools"],
  ] as const) {
    if (spawnSync(command, ["--version"]).error) throw new Error(`install ${name}`);
  }
  const keys = { left: keyPair(), right: keyPair() };
  for (const side of SIDES) {
    const peer = side === "left" ? "right" : "left";
    const netns = topology.netns[side];
    const daemon = topology.daemon(side, ["wireguard-go", DEVICE], { WG_PROCESS_FOREGROUND: "1" });
    const configuration = peerConf(keys[side].secret, keys[peer].open, peer);
    await untilReady(daemon, () => configure(daemon.pid as number, configuration));
    ip("-n", netns, "address", "add", `${INNER[side]}/24`, "dev", DEVICE);
    ip("-n", netns, "link", "set", DEVICE, "up");
  }
}

/** In the daemon's mount namespace, where its control socket is. The keys go by standard input. */
function configure(pid: number, configuration: string): void {
  // wg opens the file by its name, which cannot be done with the socket that Node makes of standard input.
  const args = ["-t", String(pid), "-m", "-n", "sh", "-c", `cat | wg setconf ${DEVICE} /dev/stdin`];
  const { status, stderr } = spawnSync("nsenter", args, { input: configuration, encoding: "utf8" });
  if (status !== 0) throw new Error(`wg setconf ${DEVICE}: ${stderr.trim()}`);
}

const peerConf = (secret: string, open: string, peer: Side): string => `
[Interface]
PrivateKey = ${secret}
ListenPort = ${PORT}
[Peer]
PublicKey = ${open}
AllowedIPs = ${INNER[peer]}/32
Endpoint = ${OUTER[peer]}:${PORT}
`;

/** Raw keys in base64, as wg has them. */
function keyPair(): { readonly secret: string; readonly open: string } {
  const { privateKey } = generateKeyPairSync("x25519");
  const { d = "", x = "" } = privateKey.export({ format: "jwk" });
  const base64 = (text: string): string => Buffer.from(text, "base64url").toString("base64");
  return { secret: base64(d), open: base64(x) };
}
