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

export const ESP_SUBJECTS = ["xfrm-steer/ipsec-mb", "xfrm-steer/openssl", "veth"] as const;
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

const VETH_MTU = 1500;
const IF_ID = 101;
const outer = (host: number): string => `192.0.2.${host}`;
const inner = (host: number): string => `10.9.0.${host}`;

type Undo = () => void | Promise<void>;

async function undoAll(undo: Undo[]): Promise<void> {
  for (let step = undo.pop(); step !== undefined; step = undo.pop()) await step();
}

/**
 * Builds a subject.
 * @throws Error when what it needs is missing, with nothing left behind
 */
export async function startSubject(name: EspSubjectName): Promise<EspSubject> {
  const id = randomBytes(3).toString("hex");
  const namespaces = [`xs-bench-${id}-l`, `xs-bench-${id}-r`] as const;
  const undo: Undo[] = [];
  try {
    for (const namespace of namespaces) {
      ip("netns", "add", namespace);
      undo.push(() => void ip("netns", "del", namespace));
    }
    const [left, right] = namespaces;
    ip("-n", left, "link", "add", "v0", "type", "veth", "peer", "name", "v0", "netns", right);
    namespaces.forEach((namespace, index) => {
      ip("-n", namespace, "address", "add", `${outer(index + 1)}/24`, "dev", "v0");
      ip("-n", namespace, "link", "set", "v0", "up");
    });
    if (name !== "veth") {
      const crypto = name === "xfrm-steer/openssl" ? "openssl" : "ipsec-mb";
      const keys = [randomBytes(20), randomBytes(20)] as const;
      for (const host of [1, 2] as const) {
        undo.push(await startGateway(namespaces[host - 1] as string, connection(host, keys), host, crypto));
      }
    }
    return { name, left, right, address: name === "veth" ? outer(2) : inner(2), stop: () => undoAll(undo) };
  } catch (error) {
    await undoAll(undo);
    throw error;
  }
}

function connection(host: 1 | 2, keys: readonly [Buffer, Buffer]): ConnectionConfig {
  return {
    ifId: IF_ID,
    link: 0,
    local: outer(host),
    localPort: 4500,
    remote: outer(3 - host),
    remotePort: 4500,
    suite: "aes128-gcm",
    out: { spi: 0x1000 + host, key: Buffer.from(keys[host - 1] as Buffer) },
    in: { spi: 0x1003 - host, key: Buffer.from(keys[2 - host] as Buffer) },
    replayWindow: 1024,
  };
}

/** The backend's path without its daemon, so that the crypto can be chosen. */
async function startGateway(
  namespace: string,
  config: ConnectionConfig,
  host: number,
  crypto: "openssl" | "ipsec-mb",
): Promise<Undo> {
  const undo: Undo[] = [];
  const policy = steeringPolicy();
  try {
    const starting = inNetns(namespace, () => {
      const tun = openTun("ipsec0");
      undo.push(() => tun.close());
      const [device] = ipJson<{ ifindex: number }>("link", "show", "dev", "ipsec0");
      const ifindex = device?.ifindex ?? 0;
      const object = loadClassifier(
        bpfObjectPath("steer_tun"),
        compile(policy, { ifindexOf: () => ifindex, ifindexesOfGroup: () => [] }),
      );
      undo.push(() => object.close());
      for (const direction of ["egress", "ingress"] as const) {
        const link = attachTc({ ifindex, direction, program: object.program(`tun_${direction}`) });
        undo.push(() => link.close());
      }
      ip(
        "link",
        "set",
        "ipsec0",
        "mtu",
        String(
          innerMtu(VETH_MTU, {
            ...config,
            mode: "tunnel",
            encapsulation: "udp",
            outerFamily: 4,
            innerFamily: 4,
          }),
        ),
        "up",
      );
      ip("address", "add", `${inner(host)}/24`, "dev", "ipsec0");
      return startDatapath({ tunFd: tun.fd, connections: [config], crypto });
    });
    const datapath = await starting;
    undo.push(() => datapath.stop().catch(() => {}));
    return () => undoAll(undo);
  } catch (error) {
    await undoAll(undo);
    throw error;
  }
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
