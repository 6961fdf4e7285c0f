/** Data paths on loopback for the tests, with connections between them. */
import { randomBytes } from "node:crypto";
import { createSocket } from "node:dgram";
import { once } from "node:events";
import type { ExecutionContext } from "ava";
import {
  type ConnectionConfig,
  type Datapath,
  type DatapathOptions,
  startDatapath,
} from "../../src/esp/index.js";
import { FakeTun } from "./fake-tun.js";

export interface Site {
  readonly tun: FakeTun;
  readonly datapath: Datapath;
}

/** A UDP port that nobody uses on the address right now. */
export async function freePort(address: string): Promise<number> {
  const socket = createSocket(address.includes(":") ? "udp6" : "udp4");
  socket.bind(0, address);
  await once(socket, "listening");
  const { port } = socket.address();
  socket.close();
  await once(socket, "close");
  return port;
}

/** The two ends of a tunnel between two addresses. */
export class Tunnel {
  readonly left: string;
  readonly right: string;
  readonly #leftPort: number;
  readonly #rightPort: number;

  private constructor(left: string, leftPort: number, right: string, rightPort: number) {
    this.left = left;
    this.right = right;
    this.#leftPort = leftPort;
    this.#rightPort = rightPort;
  }

  static async between(left = "127.0.0.1", right = "127.0.0.2"): Promise<Tunnel> {
    return new Tunnel(left, await freePort(left), right, await freePort(right));
  }

  get leftPort(): number {
    return this.#leftPort;
  }

  /**
   * Both ends of one connection; SPIs derive from the if_id. Calls with the same `secrets` give the same keys.
   * @param secrets keying material for left to right and right to left
   */
  connection(
    ifId: number,
    secrets: readonly [Buffer, Buffer] = [randomBytes(20), randomBytes(20)],
    overrides: Partial<ConnectionConfig> = {},
  ): { left: ConnectionConfig; right: ConnectionConfig } {
    const shared = { ifId, link: 0, suite: "aes128-gcm", replayWindow: 1024, ...overrides } as const;
    const spis = [0x10000 + ifId, 0x20000 + ifId] as const;
    return {
      left: {
        local: this.left,
        localPort: this.#leftPort,
        remote: this.right,
        remotePort: this.#rightPort,
        out: { spi: spis[0], key: Buffer.from(secrets[0]) },
        in: { spi: spis[1], key: Buffer.from(secrets[1]) },
        ...shared,
      },
      right: {
        local: this.right,
        localPort: this.#rightPort,
        remote: this.left,
        remotePort: this.#leftPort,
        out: { spi: spis[1], key: Buffer.from(secrets[1]) },
        in: { spi: spis[0], key: Buffer.from(secrets[0]) },
        ...shared,
      },
    };
  }
}

/** Starts a data path that ends with the test, whatever becomes of it. */
export async function startSite(
  t: ExecutionContext,
  connections: readonly ConnectionConfig[],
  crypto: DatapathOptions["crypto"] = "auto",
  onExpire: DatapathOptions["onExpire"] = () => {},
): Promise<Site> {
  const tun = new FakeTun();
  t.teardown(() => tun.close());
  const datapath = await startDatapath({ tunFds: [tun.fd], connections, crypto, onExpire });
  t.teardown(() => datapath.stop().catch(() => {}));
  return { tun, datapath };
}

/** Waits for what a worker will do; the caller's assertion tells when it did not. */
export async function until(condition: () => boolean, timeout = 5000): Promise<void> {
  const deadline = Date.now() + timeout;
  while (!condition() && Date.now() < deadline) await new Promise((resolve) => setTimeout(resolve, 2));
}
