import { randomBytes } from "node:crypto";
import { type GatewayOptions, startGateway } from "../backends/userspace/gateway.js";
import { parsePolicy } from "../config/index.js";
import { type ConnectionConfig, innerMtu } from "../esp/index.js";
import { DEFAULT_KERNEL } from "../esp/offload/stack.js";
import { loadProfile } from "../simulator/profile.js";
import { SimulatedOffload } from "../simulator/provider.js";
import { type EspTopology, OUTER, SIDES, type Side, VETH_MTU } from "./esp-topology.js";

export type Crypto = NonNullable<GatewayOptions["crypto"]>;

/** The inner addresses of one connection, at either side. */
export type Ends = Readonly<Record<Side, readonly string[]>>;

const IF_ID = 101;
const FIRST_SPI = 0x1000;
const SUITE = "aes128-gcm";
const KEY_BYTES = 20;

const other = (side: Side): Side => (side === "left" ? "right" : "left");

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

/**
 * Starts ipsec0 on both sides, with a connection for each pair of ends; the addresses are the caller's to add.
 * @param offloaded whether a simulated device without limits has the SAs
 */
export async function startSteering(
  topology: EspTopology,
  crypto: Crypto,
  all: readonly Ends[],
  offloaded = false,
): Promise<void> {
  const keys = all.map(() => ({ left: randomBytes(KEY_BYTES), right: randomBytes(KEY_BYTES) }));
  for (const side of SIDES) {
    const gateway = await startGateway({
      netns: topology.netns[side],
      policy: steeringPolicy(all.map((ends) => ends[other(side)])),
      connections: () =>
        keys.map((own, index) => ({
          ...connection(side, index, own),
          ...(offloaded ? { offload: OFFLOAD } : {}),
        })),
      mtu: innerMtu(VETH_MTU, {
        suite: SUITE,
        mode: "tunnel",
        encapsulation: "udp",
        outerFamily: 4,
        innerFamily: 4,
      }),
      crypto,
      offload: offloaded ? simulated() : null,
    });
    topology.onRemove(() => gateway.stop());
  }
}

function connection(side: Side, index: number, keys: Readonly<Record<Side, Buffer>>): ConnectionConfig {
  const peer = other(side);
  const spi = { left: FIRST_SPI + 2 * index, right: FIRST_SPI + 2 * index + 1 };
  return {
    ifId: IF_ID + index,
    link: 0,
    local: OUTER[side],
    localPort: 4500,
    remote: OUTER[peer],
    remotePort: 4500,
    suite: SUITE,
    out: { spi: spi[side], key: Buffer.from(keys[side]) },
    in: { spi: spi[peer], key: Buffer.from(keys[peer]) },
    replayWindow: 1024,
  };
}

function steeringPolicy(remotes: readonly (readonly string[])[]) {
  const connections = remotes.map(
    (subnets, index) => `  peer-${index}: {if_id: ${IF_ID + index}, subnets: [${subnets.join(", ")}]}\n`,
  );
  const text = `version: 1\ninterface: {name: ipsec0}\nconnections:\n${connections.join("")}`;
  const { policy, diagnostics } = parsePolicy(text, "bench");
  if (policy === null) throw new Error(`the benchmark's policy: ${diagnostics[0]?.message}`);
  return policy;
}
