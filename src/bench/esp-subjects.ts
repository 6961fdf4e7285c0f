/*
 *   left namespace                               right namespace
 *   ipsec0 10.9.0.1                              ipsec0 10.9.0.2
 *     | steering programs, data path               | steering programs, data path
 *   v0 192.0.2.1 ============ veth ============ 192.0.2.2 v0
 */
import { ip } from "../sys/ip.js";
import { type Crypto, startSteering } from "./esp-steering.js";
import { startStrongswan } from "./esp-strongswan.js";
import { EspTopology, INNER, OUTER, SIDES } from "./esp-topology.js";
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

async function startXfrmSteer(topology: EspTopology, crypto: Crypto, offloaded = false): Promise<void> {
  await startSteering(topology, crypto, [{ left: [INNER.left], right: [INNER.right] }], offloaded);
  for (const side of SIDES)
    ip("-n", topology.netns[side], "address", "add", `${INNER[side]}/24`, "dev", "ipsec0");
}
