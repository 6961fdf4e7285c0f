/*
 *   left namespace                                      right namespace
 *   ipsec0 10.0.N.1                                     ipsec0 10.1.N.1, one N for each link
 *     data path --- v1 fe80::1 ======= veth ======= v1 fe80::2 --- data path
 *               --- v2 fe80::1 ======= veth ======= v2 fe80::2 ---
 */
import { execFile } from "node:child_process";
import { randomBytes } from "node:crypto";
import { promisify } from "node:util";
import test, { type ExecutionContext } from "ava";
import { ifindexOf } from "../../src/backends/link-setup.js";
import { type Gateway, startGateway } from "../../src/backends/userspace/gateway.js";
import { parsePolicy } from "../../src/config/index.js";
import type { ConnectionConfig, Encapsulation } from "../../src/esp/index.js";
import { inNetns } from "../../src/sys/netns.js";
import { ip, makeNamespace, whyNoNamespaces } from "../sys/namespace.js";

const reason = whyNoNamespaces();
const rooted = reason === null ? test.serial : test.serial.skip;
const suffix = reason === null ? "" : ` (${reason})`;
const run = promisify(execFile);

const LINKS = [1, 2] as const;
const ADDRESS = { left: "fe80::1", right: "fe80::2" } as const;
type Side = keyof typeof ADDRESS;
const SIDES = ["left", "right"] as const;

class Pair {
  readonly #netns: Readonly<Record<Side, string>>;
  readonly #gateways = new Map<Side, Gateway>();
  readonly #encapsulation: Encapsulation;
  readonly #keys = LINKS.map(() => ({ left: randomBytes(20), right: randomBytes(20) }));

  private constructor(t: ExecutionContext, encapsulation: Encapsulation) {
    this.#netns = { left: makeNamespace(t), right: makeNamespace(t) };
    this.#encapsulation = encapsulation;
  }

  static async start(t: ExecutionContext, queues: number, encapsulation: Encapsulation): Promise<Pair> {
    const pair = new Pair(t, encapsulation);
    for (const link of LINKS) pair.makeLink(link);
    for (const side of SIDES) await pair.#start(t, side, queues);
    return pair;
  }

  makeLink(link: number): void {
    const { left, right } = this.#netns;
    ip("-n", left, "link", "add", `v${link}`, "type", "veth", "peer", "name", `v${link}`, "netns", right);
    for (const side of SIDES) {
      const netns = this.#netns[side];
      ip("-n", netns, "link", "set", `v${link}`, "addrgenmode", "none", "up");
      ip("-n", netns, "addr", "add", `${ADDRESS[side]}/64`, "dev", `v${link}`, "nodad");
    }
  }

  /** Both ends of it. */
  deleteLink(link: number): void {
    ip("-n", this.#netns.left, "link", "del", `v${link}`);
  }

  /** Applies the same connections at both ends, with the links as they are now. */
  async update(): Promise<void> {
    for (const side of SIDES)
      await inNetns(this.#netns[side], async () =>
        this.#gateways.get(side)?.datapath.update(this.#configs(side)),
      );
  }

  /** Until three answers have come through the connection of each link. */
  async ping(): Promise<void> {
    for (const link of LINKS)
      await run("ip", [
        ...["netns", "exec", this.#netns.left, "ping", "-q", "-i", "0.01", "-c", "3", "-w", "10"],
        ...["-I", `10.0.${link}.1`, `10.1.${link}.1`],
      ]);
  }

  /** When each SA of either end was added, in milliseconds since the epoch. */
  added(): (number[] | undefined)[] {
    return SIDES.map((side) => {
      const states = this.#gateways.get(side)?.datapath.states();
      return states?.map(({ added }) => added);
    });
  }

  async #start(t: ExecutionContext, side: Side, queues: number): Promise<void> {
    const netns = this.#netns[side];
    const [own, peers] = side === "left" ? [0, 1] : [1, 0];
    const subnets = LINKS.map(
      (link) => `  c${link}: {if_id: ${100 + link}, subnets: [10.${peers}.${link}.0/24]}\n`,
    );
    const text = `version: 1\ninterface: {name: ipsec0}\nconnections:\n${subnets.join("")}`;
    const { policy } = parsePolicy(text, "link-local");
    if (policy === null) throw new Error("the test's policy is wrong");
    const connections = () => this.#configs(side);
    const gateway = await startGateway({ netns, policy, connections, mtu: 1400, queues });
    t.teardown(() => gateway.stop());
    this.#gateways.set(side, gateway);
    for (const link of LINKS) ip("-n", netns, "addr", "add", `10.${own}.${link}.1/32`, "dev", "ipsec0");
    ip("-n", netns, "route", "add", `10.${peers}.0.0/16`, "dev", "ipsec0");
  }

  /** To be called in the namespace of the side. */
  #configs(side: Side): ConnectionConfig[] {
    const other = side === "left" ? "right" : "left";
    return LINKS.map((link, index) => {
      const sa = (end: Side) => ({
        spi: 0x1000 + 2 * link + (end === "left" ? 0 : 1),
        key: Buffer.from(this.#keys[index]?.[end] ?? ""),
      });
      return {
        ...{ ifId: 100 + link, link: ifindexOf(`v${link}`), encapsulation: this.#encapsulation },
        ...{ local: ADDRESS[side], localPort: 4500, remote: ADDRESS[other], remotePort: 4500 },
        ...{ suite: "aes128-gcm", replayWindow: 32, out: sa(side), in: sa(other) },
      };
    });
  }
}

for (const [encapsulation, queues] of [
  ["udp", 1],
  ["udp", 2],
  ["none", 1],
  ["none", 2],
] as const)
  rooted(
    `one link-local address on two links, a link made anew: ${encapsulation === "udp" ? "in UDP" : "bare"}, queues: ${queues}${suffix}`,
    async (t) => {
      const pair = await Pair.start(t, queues, encapsulation);
      await pair.ping();
      const added = pair.added();
      pair.deleteLink(1);
      pair.makeLink(1);
      await pair.update();
      await pair.ping();
      t.deepEqual(pair.added(), added, "the SAs are those from before");
    },
  );
