import { randomBytes } from "node:crypto";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import type { Policy } from "../../../config/policy.js";
import { PacketSocket, socketAddress, UdpSocket } from "../../netns-socket.js";
import { type Scenario, type ScenarioContext, scenario } from "../../scenario.js";
import { parsePolicyText, type Steering } from "../../steering/steering.js";
import type { Branch } from "../contract/subject.js";
import { userspace } from "../contract/userspace-subject.js";
import { addUplink } from "../hub.js";

/** Applies that exchange the if_ids; 200 on demand. */
const EXCHANGES = Number(process.env.XFRM_STEER_EXCHANGES ?? 20);
/** Connections of the policy that is enumerated, of which the first is taken out. */
const ENUMERATED = 1502;
/** Datagrams of both tenants together. */
const A_SECOND = 5000;
/** Of each at a time at most: a machine that was busy does not fill queues afterwards. */
const BURST = 250;
const PAUSE_MS = 5;
const UP = 9000;
const INNER = "10.9.0.1";

const TOPOLOGY = `
                hub                                  a
        ipsec0 10.0.0.1                       ipsec0 10.9.0.1
        172.16.1.100 v01 ================ v10 172.16.1.200

        172.16.2.100 v02 ================ v20 172.16.2.200
                                              ipsec0 10.9.0.1
                                                     b

    a and b own the same subnet at the hub; a rule for a port each tells them apart.
`;

interface Tenant {
  readonly branch: Branch;
  readonly port: number;
  /** What its packets carry. */
  readonly marker: string;
  /** Packets that its peer decrypted. */
  readonly tap: PacketSocket;
  right: number;
  wrong: number;
}

/** Two tenants under traffic: to each from the hub, and from a to the hub, as b has to be silent to be told apart. */
class Traffic {
  sent = 0;
  readonly tenants: readonly [Tenant, Tenant];
  readonly #down: UdpSocket;
  readonly #up: UdpSocket;
  readonly #listening: readonly UdpSocket[];
  readonly #started = performance.now();
  #over = false;
  #running: Promise<void> | null = null;

  constructor(tenants: readonly [Tenant, Tenant]) {
    const [{ branch }] = tenants;
    this.tenants = tenants;
    this.#down = new UdpSocket(branch.hub.path, "0.0.0.0");
    this.#up = new UdpSocket(branch.peer.path, INNER);
    // Somebody listens, so that no ICMP errors come back.
    this.#listening = [
      new UdpSocket(branch.hub.path, "0.0.0.0", UP),
      ...tenants.flatMap(({ branch: { peer } }) =>
        tenants.map(({ port }) => new UdpSocket(peer.path, "0.0.0.0", port)),
      ),
    ];
  }

  start(): void {
    this.#running = this.#run();
    this.#running.catch(() => {});
  }

  async #run(): Promise<void> {
    const hub = socketAddress("10.0.0.1", UP);
    const packets = this.tenants.map(({ port, marker }) => {
      return { to: socketAddress(INNER, port), data: Buffer.from(marker) };
    });
    while (!this.#over) {
      const due = ((performance.now() - this.#started) / 1000) * A_SECOND - this.sent;
      const burst = Math.min(BURST, Math.ceil(due / packets.length));
      for (let i = 0; i < burst; i++) {
        for (const { to, data } of packets) this.#down.sendTo(data, to);
        this.#up.sendTo(Buffer.from("from a"), hub);
      }
      this.sent += burst * packets.length;
      this.sort();
      await delay(PAUSE_MS);
    }
  }

  /** Sorts what the peers decrypted. */
  sort(): void {
    for (const [i, tenant] of this.tenants.entries())
      for (const frame of tenant.tap.drain()) {
        if (frame.includes(tenant.marker)) tenant.right++;
        else if (frame.includes((this.tenants[1 - i] as Tenant).marker)) tenant.wrong++;
      }
  }

  async stop(t: ScenarioContext): Promise<void> {
    this.#over = true;
    await this.#running;
    this.sort();
    const [a, b] = this.tenants;
    const rate = this.sent / ((performance.now() - this.#started) / 1000);
    t.note(`${this.sent} packets, ${Math.round(rate)} a second`);
    t.note(`at a: ${a.right} of a, ${a.wrong} of b; at b: ${b.right} of b, ${b.wrong} of a`);
  }

  close(): void {
    for (const socket of [...this.#listening, this.#down, this.#up]) socket.close();
    for (const { tap } of this.tenants) tap.close();
  }
}

/** What the scenarios have in common: `change` is run under traffic that comes to both peers. */
async function underTraffic(
  t: ScenarioContext,
  first: (tenants: readonly [Tenant, Tenant], folder: string) => Policy,
  change: (steering: Steering, resumes: () => Promise<void>, nothingWrong: () => void) => Promise<void>,
): Promise<void> {
  const hub = t.ns("hub");
  const steering = t.steer(hub);
  const folder = mkdtempSync(join(tmpdir(), "xfrm-steer-exchange-"));
  let traffic: Traffic | null = null;
  try {
    const tenants = [await makeTenant(t, folder, 1), await makeTenant(t, folder, 2)] as const;
    const [a, b] = tenants;
    traffic = new Traffic(tenants);
    await steering.apply(first(tenants, folder));
    await hub.ip("route add 10.9.0.0/16 dev ipsec0");
    const resumes = async () => {
      const from = tenants.map(({ right }) => right);
      const flows = async () => tenants.map(({ right }, i) => right > (from[i] as number));
      await t.eventually("packets at a and b", flows, [true, true]);
    };
    const nothingWrong = () => t.expect("packets of the other at a and b", [a.wrong, b.wrong], [0, 0]);
    traffic.start();
    try {
      await t.step("each tenant's packets come to its peer", resumes);
      await change(steering, resumes, nothingWrong);
    } finally {
      await traffic.stop(t);
    }
    await t.step("no packet of one came to the other, nor was taken for the other's", async () => {
      nothingWrong();
      const { connections, drops } = await steering.status();
      const received = new Map(connections.map(({ name, received }) => [name, received.packets]));
      const { txDropped } = await hub.link("ipsec0");
      t.note(`drops: ${JSON.stringify(drops)}; ${txDropped} found the queue of ipsec0 full`);
      t.expect("received from b", received.get("b"), 0);
      t.expect("received from a", (received.get("a") ?? 0) > 0, true);
    });
  } finally {
    traffic?.close();
    rmSync(folder, { recursive: true });
  }
}

async function makeTenant(t: ScenarioContext, folder: string, i: 1 | 2): Promise<Tenant> {
  const name = i === 1 ? "a" : "b";
  const [hub, peer] = [t.ns("hub"), t.ns(name)];
  const outer = await addUplink(t, hub, peer, i);
  const inner = [`${INNER}/32`];
  const branch = { name, ifId: i, hub, peer, outer, spi: 0x10000 * i, subnets: ["10.9.0.0/16"], inner };
  await userspace.connect(branch, folder);
  const tap = new PacketSocket(peer.path, "ipsec0");
  return { branch, port: UP + i, marker: `of tenant ${name}`, tap, right: 0, wrong: 0 };
}

const connection = ({ branch }: Tenant, ifId: number): string =>
  `  ${branch.name}: {if_id: ${ifId}, subnets: [${branch.subnets}], ${userspace.esp(branch)}}`;

function policyOf(connections: readonly string[], folder: string): Policy {
  const text = `version: 1
backend: userspace
interface: {name: ipsec0, addresses: [10.0.0.1/32]}
connections:
${connections.join("\n")}
rules:
  - {name: to-a, match: {proto: udp, dport: ${UP + 1}}, to: a}
  - {name: to-b, match: {proto: udp, dport: ${UP + 2}}, to: b}
`;
  return parsePolicyText(text, join(folder, "steer.yaml"));
}

const exchange = scenario({
  name: "faults-if-id-exchange",
  topology: TOPOLOGY,
  needs: userspace.needs,
  host: true,
  limitMs: 120_000 + EXCHANGES * 5_000,
  typicalMs: 20_000 + EXCHANGES * 1_000,
  async run(t) {
    let policies: readonly Policy[] = [];
    const first = (tenants: readonly [Tenant, Tenant], folder: string): Policy => {
      policies = [
        [1, 2],
        [2, 1],
      ].map((ifIds) =>
        policyOf(
          tenants.map((tenant, i) => connection(tenant, ifIds[i] as number)),
          folder,
        ),
      );
      return policies[0] as Policy;
    };
    await underTraffic(t, first, async (steering, resumes, nothingWrong) => {
      await t.step(`${EXCHANGES} applies exchange the if_ids`, async () => {
        for (let i = 1; i <= EXCHANGES; i++) {
          await steering.apply(policies[i % 2] as Policy);
          if (i % 10 === 0) await resumes();
        }
      });
      await t.step("both go on, and nothing went wrong", async () => {
        await resumes();
        nothingWrong();
      });
    });
  },
});

/** if_ids as a generator of policies numbers them: without the first connection, each is the next one's. */
const enumerated = scenario({
  name: "faults-if-id-enumerated",
  topology: TOPOLOGY,
  needs: userspace.needs,
  host: true,
  typicalMs: 60_000,
  async run(t) {
    let without: Policy | null = null;
    const first = (tenants: readonly [Tenant, Tenant], folder: string): Policy => {
      const others = Array.from({ length: ENUMERATED - tenants.length }, (_, i) =>
        otherConnection(i, folder),
      );
      const policy = (from: number): Policy => {
        const [gone, ...rest] = others;
        const all = [gone, ...tenants, ...rest].slice(from);
        const text = all.map((each, i) =>
          typeof each === "object" ? connection(each, i + 1) : each?.(i + 1),
        );
        return policyOf(text as string[], folder);
      };
      without = policy(1);
      return policy(0);
    };
    await underTraffic(t, first, async (steering, resumes, nothingWrong) => {
      await t.step(`the first of ${ENUMERATED} connections is taken out`, async () => {
        await steering.apply(without as unknown as Policy);
      });
      await t.step("both go on, and nothing went wrong", async () => {
        await resumes();
        nothingWrong();
      });
    });
  },
});

/** A connection with keys whose peer is not there. @returns its text, given its if_id */
function otherConnection(index: number, folder: string): (ifId: number) => string {
  mkdirSync(join(folder, "keys"), { recursive: true });
  const sa = (direction: number) => {
    const file = `keys/${index}-${direction}.key`;
    writeFileSync(join(folder, file), randomBytes(20).toString("hex"), { mode: 0o600 });
    return `{spi: ${0x100000 + 2 * index + direction}, key: "file:${file}"}`;
  };
  const esp = `{local: 172.16.1.100, remote: 198.51.100.1, suite: aes128-gcm, out: ${sa(0)}, in: ${sa(1)}}`;
  const subnet = `10.128.${index >> 8}.${index & 255}/32`;
  return (ifId) => `  c${index}: {if_id: ${ifId}, subnets: [${subnet}], esp: ${esp}}`;
}

export const ifIdExchangeScenarios: readonly Scenario[] = [exchange, enumerated];
