/*
 *   left namespace                               right namespace
 *   ipsec0 10.9.0.1                              ipsec0 10.9.0.2
 *     | steering programs, data path               | steering programs, data path
 *   v0 192.0.2.1 ============ veth ============ 192.0.2.2 v0
 */
import { randomBytes } from "node:crypto";
import { attachTc } from "libbpf-ts";
import { loadClassifier } from "../backends/classifier.js";
import { compile } from "../compiler/compile.js";
import { parsePolicy } from "../config/index.js";
import { type ConnectionConfig, innerMtu, startDatapath } from "../esp/index.js";
import { ip, ipJson } from "../sys/ip.js";
import { inNetns } from "../sys/netns.js";
import { bpfObjectPath } from "../sys/paths.js";
import { openTun } from "../sys/tun.js";
import { startStrongswan } from "./esp-strongswan.js";
import { EspTopology, INNER, OUTER, SIDES, type Side, VETH_MTU } from "./esp-topology.js";
import { startWireguardGo } from "./esp-wireguard.js";

export const ESP_SUBJECTS = [
  "xfrm-steer/ipsec-mb",
  "xfrm-steer/openssl",
  "strongswan-libipsec",
  "wireguard-go",
  "veth",
] as const;
export type EspSubjectName = (typeof ESP_SUBJECTS)[number];

/** Two namespaces with a way between them. */
export interface EspSubject {
  readonly name: EspSubjectName;
  readonly left: string;
  readonly right: string;
  /** Address in the right namespace that the way under test leads to. */
  readonly address: string;
  /** Ends it and removes its namespaces. */
  stop(): Promise<void>;
}

const IF_ID = 101;

const START: Readonly<Record<EspSubjectName, (topology: EspTopology) => Promise<void>>> = {
  "xfrm-steer/ipsec-mb": (topology) => startXfrmSteer(topology, "ipsec-mb"),
  "xfrm-steer/openssl": (topology) => startXfrmSteer(topology, "openssl"),
  "strongswan-libipsec": startStrongswan,
  "wireguard-go": startWireguardGo,
  veth: async () => {},
};

/**
 * Builds a subject.
 * @throws Error when what it needs is missing, with nothing left behind
 */
export async function startSubject(name: EspSubjectName): Promise<EspSubject> {
  const topology = new EspTopology();
  try {
    topology.build();
    await START[name](topology);
    const address = name === "veth" ? OUTER.right : INNER.right;
    return { name, ...topology.netns, address, stop: () => topology.remove() };
  } catch (error) {
    await topology.remove();
    throw error;
  }
}

async function startXfrmSteer(topology: EspTopology, crypto: "ipsec-mb" | "openssl"): Promise<void> {
  const keys = { left: randomBytes(20), right: randomBytes(20) };
  for (const side of SIDES) await startGateway(topology, side, connection(side, keys), crypto);
}

function connection(side: Side, keys: Readonly<Record<Side, Buffer>>): ConnectionConfig {
  const peer = side === "left" ? "right" : "left";
  const spi = { left: 0x1001, right: 0x1002 };
  return {
    ifId: IF_ID,
    link: 0,
    local: OUTER[side],
    localPort: 4500,
    remote: OUTER[peer],
    remotePort: 4500,
    suite: "aes128-gcm",
    out: { spi: spi[side], key: Buffer.from(keys[side]) },
    in: { spi: spi[peer], key: Buffer.from(keys[peer]) },
    replayWindow: 1024,
  };
}

/** The backend's path without its daemon, so that the crypto can be chosen. */
async function startGateway(
  topology: EspTopology,
  side: Side,
  config: ConnectionConfig,
  crypto: "openssl" | "ipsec-mb",
): Promise<void> {
  const policy = steeringPolicy();
  const starting = inNetns(topology.netns[side], () => {
    const tun = openTun("ipsec0");
    topology.undo(() => tun.close());
    const [device] = ipJson<{ ifindex: number }>("link", "show", "dev", "ipsec0");
    const ifindex = device?.ifindex ?? 0;
    const object = loadClassifier(
      bpfObjectPath("steer_tun"),
      compile(policy, { ifindexOf: () => ifindex, ifindexesOfGroup: () => [] }),
    );
    topology.undo(() => object.close());
    for (const direction of ["egress", "ingress"] as const) {
      const link = attachTc({ ifindex, direction, program: object.program(`tun_${direction}`) });
      topology.undo(() => link.close());
    }
    ip("link", "set", "ipsec0", "mtu", String(innerMtu(VETH_MTU, 4)), "up");
    ip("address", "add", `${INNER[side]}/24`, "dev", "ipsec0");
    return startDatapath({ tunFd: tun.fd, connections: [config], crypto });
  });
  const datapath = await starting;
  topology.undo(() => datapath.stop().catch(() => {}));
}

function steeringPolicy() {
  const text = `
version: 1
interface: {name: ipsec0}
connections:
  peer: {if_id: ${IF_ID}, subnets: [10.9.0.0/24]}
`;
  const { policy, diagnostics } = parsePolicy(text, "bench");
  if (policy === null) throw new Error(`the benchmark's policy: ${diagnostics[0]?.message}`);
  return policy;
}
