import { attachTc } from "libbpf-ts";
import { compile } from "../../compiler/compile.js";
import type { Policy } from "../../config/policy.js";
import {
  type ConnectionConfig,
  type Datapath,
  type DatapathOptions,
  startDatapath,
} from "../../esp/index.js";
import { hostDevices } from "../../sys/devices.js";
import { ip } from "../../sys/ip.js";
import { inNetns } from "../../sys/netns.js";
import { openTun } from "../../sys/tun.js";
import { loadRules } from "../classifier.js";
import { ifindexOf } from "../link-setup.js";

export interface GatewayOptions {
  /** Network namespace, by name. */
  readonly netns: string;
  /** Names the interface, and steers into the connections. */
  readonly policy: Policy;
  /** Called in the namespace, where links have their numbers. */
  readonly connections: () => readonly ConnectionConfig[];
  readonly mtu: number;
  /** Of the interface, each with two threads; 1 if left out. */
  readonly queues?: number;
  readonly crypto?: DatapathOptions["crypto"];
  readonly offload?: DatapathOptions["offload"];
}

export interface Gateway {
  readonly datapath: Datapath;
  /** Ends the data path and removes the interface. */
  stop(): Promise<void>;
}

/**
 * Makes a steered interface with a userspace data path in a namespace: the backend without its daemon, keys and status,
 * for measuring and for holding the data path against other implementations.
 * @throws TunError, ConnectionError, SystemError and those of loadRules, with nothing left behind
 */
export async function startGateway(options: GatewayOptions): Promise<Gateway> {
  const undo: (() => void | Promise<void>)[] = [];
  const stop = async (): Promise<void> => {
    for (let step = undo.pop(); step !== undefined; step = undo.pop()) await step();
  };
  try {
    const starting = inNetns(options.netns, () => {
      const { policy, mtu, crypto = "auto", offload = null, queues = 1 } = options;
      const { name } = policy.interface;
      const tun = openTun(name, { queues });
      undo.push(() => tun.close());
      const ifindex = ifindexOf(name);
      const object = loadRules("tun", compile(policy, hostDevices()));
      undo.push(() => object.close());
      for (const direction of ["egress", "ingress"] as const) {
        const link = attachTc({ ifindex, direction, program: object.program(`tun_${direction}`) });
        undo.push(() => link.close());
      }
      ip("link", "set", name, "mtu", String(mtu), "up");
      return startDatapath({ tunFds: tun.fds, connections: options.connections(), crypto, offload });
    });
    const datapath = await starting;
    undo.push(() => datapath.stop().catch(() => {}));
    return { datapath, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}
