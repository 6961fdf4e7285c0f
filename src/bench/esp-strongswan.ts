import { execFile } from "node:child_process";
import { randomBytes } from "node:crypto";
import { existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { ip } from "../sys/ip.js";
import { type EspTopology, INNER, OUTER, SIDES, type Side, untilReady } from "./esp-topology.js";

const run = promisify(execFile);

const CHARON = "/usr/lib/ipsec/charon";
/** kernel-libipsec has to come before kernel-netlink: the first that offers a feature serves it. */
const PLUGINS =
  "random nonce openssl pem pkcs1 x509 pubkey kdf hmac sha1 sha2 aes gcm kernel-libipsec kernel-netlink socket-default vici";
const INITIATE_TIMEOUT_MS = 20_000;

/** strongSwan's userspace ESP (the plugin kernel-libipsec): two IKE daemons and one CHILD_SA of AES-128-GCM in UDP. */
export async function startStrongswan(topology: EspTopology): Promise<void> {
  if (!existsSync(CHARON) || !existsSync("/usr/lib/ipsec/plugins/libstrongswan-kernel-libipsec.so")) {
    throw new Error("install strongswan-charon, strongswan-swanctl and libcharon-extra-plugins");
  }
  const folder = topology.folder();
  const secret = randomBytes(24).toString("hex");
  const control = (side: Side): string => `unix://${join(folder, `${side}.vici`)}`;
  const swanctl = (side: Side, ...args: string[]) =>
    run("swanctl", [...args, "--uri", control(side)], {
      env: { ...process.env, STRONGSWAN_CONF: join(folder, `${side}.conf`) },
      timeout: INITIATE_TIMEOUT_MS,
    });
  for (const side of SIDES) {
    const conf = join(folder, `${side}.conf`);
    const connections = join(folder, `${side}.swanctl`);
    writeFileSync(conf, charonConf(control(side)));
    writeFileSync(connections, connectionConf(side, secret), { mode: 0o600 });
    // An address that is there already when the SA comes up is what charon takes as the route's source.
    ip("-n", topology.netns[side], "address", "add", `${INNER[side]}/32`, "dev", "lo");
    const daemon = topology.daemon(side, [CHARON], { STRONGSWAN_CONF: conf });
    await untilReady(daemon, () => swanctl(side, "--load-all", "--file", connections));
  }
  await swanctl("left", "--initiate", "--child", "bench");
}

const charonConf = (socket: string): string => `
charon {
  load = ${PLUGINS}
  plugins {
    vici { socket = ${socket} }
    kernel-libipsec { allow_peer_ts = yes }
  }
}
`;

const connectionConf = (side: Side, secret: string): string => {
  const peer = side === "left" ? "right" : "left";
  return `
connections { bench {
  local_addrs = ${OUTER[side]}
  remote_addrs = ${OUTER[peer]}
  encap = yes
  proposals = aes128gcm16-prfsha256-ecp256
  local { auth = psk
    id = ${side}.bench }
  remote { auth = psk }
  children { bench {
    local_ts = ${INNER[side]}/32
    remote_ts = ${INNER[peer]}/32
    esp_proposals = aes128gcm16
  } }
} }
secrets { ike-bench { secret = "${secret}" } }
`;
};
