/*
 *   left namespace                               right namespace
 *   ipsec0 10.9.0.1                              ipsec0 10.9.0.2
 *     | steering programs, data path               | steering programs, data path
 *   v0 192.0.2.1 ============ veth ============ 192.0.2.2 v0
 */
import { randomBytes } from "node:crypto";
import { type GatewayOptions, startGateway } from "../backends/userspace/gateway.js";
import { parsePolicy } from "../config/index.js";
import { type ConnectionConfig, innerMtu } from "../esp/index.js";
import { DEFAULT_KERNEL } from "../esp/offload/stack.js";
import { loadProfile } from "../simulator/profile.js";
import { SimulatedOffload } from "../simulator/provider.js";
import { ip } from "../sys/ip.js";
import { startStrongswan } from "./esp-strongswan.js";
import { EspTopology, INNER, OUTER, SIDES, type Side, VETH_MTU } from "./esp-topology.js";
import { startWireguardGo } from "./esp-wireguard.js";

export const ESP_SUBJECTS = [
  "xfrm-steer/ipsec-mb",
  "xfrm-steer/openssl",
  "xfrm-steer/sim",
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
  "xfrm-steer/sim": (topology) => startXfrmSteer(topology, "auto", true),
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

/** @param offloaded whether a simulated device without limits has the SAs */
async function startXfrmSteer(
  topology: EspTopology,
  crypto: NonNullable<GatewayOptions["crypto"]>,
  offloaded = false,
): Promise<void> {
  const keys = { left: randomBytes(20), right: randomBytes(20) };
  for (const side of SIDES) {
    const netns = topology.netns[side];
    const gateway = await startGateway({
      netns,
      policy: steeringPolicy(),
      connections: () => [{ ...connection(side, keys), ...(offloaded ? { offload: OFFLOAD } : {}) }],
      mtu: innerMtu(VETH_MTU, {
        suite: "aes128-gcm",
        mode: "tunnel",
        encapsulation: "udp",
        outerFamily: 4,
        innerFamily: 4,
      }),
      crypto,
      offload: offloaded ? simulated() : null,
    });
    topology.undo(() => gateway.stop());
    ip("-n", netns, "address", "add", `${INNER[side]}/24`, "dev", "ipsec0");
  }
}

/** Its SAs are to be with the device, or the bench fails: software would be measured else. */
const OFFLOAD = { device: "sim0", type: "crypto", required: true } as const;

const simulated = (): SimulatedOffload =>
  new SimulatedOffload({
    profile: loadProfile("ideal"),
    devices: [OFFLOAD.device],
    kernel: DEFAULT_KERNEL,
    faults: [],
    seed: 1,
  });

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
