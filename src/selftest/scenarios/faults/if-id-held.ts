import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { cliPath } from "../../../sys/paths.js";
import type { Namespace } from "../../namespace.js";
import { PacketSocket, socketAddress, UdpSocket } from "../../netns-socket.js";
import { type Scenario, type ScenarioContext, scenario } from "../../scenario.js";
import { connectEsp, type EspConnection, rekeyEsp } from "../../xfrm.js";
import { kernelBpf, kernelLwt } from "../contract/kernel-subject.js";
import type { Subject } from "../contract/subject.js";
import { addUplink, addXfrm } from "../hub.js";

/** Exchanges; 200 on demand, where a VM takes a quarter of an hour for them. */
const EXCHANGES = Number(process.env.XFRM_STEER_EXCHANGES ?? 5);
/** Datagrams of each tenant at a time: 5,000 a second of both, where the CPU keeps up. */
const BURST = 25;
const PAUSE_MS = 10;
/** Without a packet for so long, there is traffic no more: many pauses, and a part of the grace period. */
const QUIET_MS = 300;
/** Emulated, the command takes seconds to start. */
const APPLY_MS = 60_000;
const UP = 9000;

interface Tenant {
  readonly name: "a" | "b";
  readonly peer: Namespace;
  /** Its address at the peer, and the port that its packets go to. */
  readonly inner: string;
  readonly port: number;
  /** What its packets carry. */
  readonly marker: string;
  /** The hub's if_id and SPIs are those of now. */
  esp: EspConnection;
  /** Decrypted packets of its peer: its own, and another tenant's. */
  readonly tap: PacketSocket;
  right: number;
  wrong: number;
}

const TOPOLOGY = `
                hub                                  a
        ipsec0 10.0.0.1                       ipsec0 (if_id 11)
        172.16.1.100 v01 ================ v10 172.16.1.200

        172.16.2.100 v02 ================ v20 172.16.2.200
                                              ipsec0 (if_id 12)
                                                     b

    The if_ids 1 and 2 of a and b are exchanged, while each tenant sends. kernel-bpf: both have 10.9.0.1 and 10.9.0.0/16,
    and a rule for each port; kernel-lwt: a has 10.1.0.1, b has 10.2.0.1.
`;

/** An apply that exchanges if_ids holds them; the SAs follow; the next apply opens them. No packet goes to the other tenant. */
function ifIdHeld(subject: Subject): Scenario {
  const counts = subject.counts;
  return scenario({
    name: `faults-if-id-held-${subject.backend}`,
    topology: TOPOLOGY,
    needs: subject.needs,
    limitMs: 300_000 + EXCHANGES * 20_000,
    typicalMs: 10_000 + EXCHANGES * 5_000,
    async run(t) {
      const hub = t.ns("hub");
      const steering = t.steer(hub);
      const tenants = [await makeTenant(t, hub, subject, 1), await makeTenant(t, hub, subject, 2)] as const;
      const [a, b] = tenants;
      const sockets = [
        ...tenants.flatMap(({ peer }) =>
          tenants.map(({ port }) => new UdpSocket(peer.path, "0.0.0.0", port)),
        ),
        new UdpSocket(hub.path, "0.0.0.0", UP), // as at the peers: somebody listens, so that no ICMP errors come back
      ];
      const sender = new UdpSocket(hub.path, "0.0.0.0");
      const upward = new UdpSocket(a.peer.path, a.inner);
      const hubAddress = socketAddress("10.0.0.1", UP);
      const packets = tenants.map(({ inner, port, marker }) => {
        return { to: socketAddress(inner, port), data: Buffer.from(marker) };
      });
      let sent = 0;
      let over = false;
      const traffic = async () => {
        while (!over) {
          for (let i = 0; i < BURST; i++) {
            for (const { to, data } of packets) sender.sendTo(data, to);
            upward.sendTo(Buffer.from("from a"), hubAddress); // b is silent: what it is said to have sent is a's
          }
          sent += BURST * packets.length;
          drain(tenants);
          await delay(PAUSE_MS);
        }
      };
      const held = async () => {
        const status = (await steering.status()) as {
          held?: readonly { ifId: number; connection: string }[];
        };
        return status.held?.map(({ ifId, connection }) => `${ifId} for ${connection}`) ?? [];
      };
      const resumes = async () => {
        const from = tenants.map(({ right }) => right);
        const flows = async () => tenants.map(({ right }, i) => right > (from[i] as number));
        await t.eventually("packets at a and b", flows, [true, true]);
      };
      const nothingWrong = () => t.expect("packets of the other at a and b", [a.wrong, b.wrong], [0, 0]);
      const apply = async (exchanged: boolean) => {
        await steering.apply(policyOf(subject, exchanged ? [2, 1] : [1, 2]));
      };
      try {
        await apply(false);
        await hub.ip("route add 10.0.0.0/8 dev ipsec0");
        const started = performance.now();
        const sending = traffic();
        try {
          await t.step("each tenant's packets come to its peer", resumes);
          for (let i = 1; i <= EXCHANGES; i++)
            await t.step(`exchange ${i}: held, changed by \`ip xfrm\`, opened`, async () => {
              const exchanged = i % 2 === 1;
              const names = exchanged ? ["1 for b", "2 for a"] : ["1 for a", "2 for b"];
              await apply(exchanged);
              t.expect("held", await held(), names);
              if (i === 1) {
                await apply(exchanged);
                t.expect("held while the SAs are the old ones", await held(), names);
                if (counts) {
                  await addFlow(hub);
                  t.expect("held with a flow that is added meanwhile", await held(), names);
                }
              }
              await exchange(hub, tenants, 0x10 * i);
              await apply(exchanged);
              t.expect("held after the SAs' change", await held(), []);
              await resumes();
              nothingWrong();
            });
          const next = EXCHANGES % 2 === 0;
          await t.step(
            "killed before packets under way are gone, an apply opens nothing for the next",
            async () => {
              const killed = await applyKilled(t, hub, tenants, policyOf(subject, next ? [2, 1] : [1, 2]));
              t.note(killed ? "killed in its grace period" : "it had ended before it was killed");
              await exchange(hub, tenants, 0x10 * (EXCHANGES + 1));
              await apply(next);
              t.expect("held", (await held()).length, killed ? 2 : 0);
              await apply(next);
              t.expect("held after one more", await held(), []);
              await resumes();
              nothingWrong();
            },
          );
        } finally {
          over = true;
          await sending;
          const seconds = (performance.now() - started) / 1000;
          t.note(`${EXCHANGES} exchanges, ${sent} packets, ${Math.round(sent / seconds)} a second`);
          t.note(`at a: ${a.right} of a, ${a.wrong} of b; at b: ${b.right} of b, ${b.wrong} of a`);
        }
        await t.step("no packet of one came to the other, nor was taken for the other's", async () => {
          drain(tenants);
          nothingWrong();
          if (!counts) return;
          const { connections, drops } = await steering.status();
          const received = new Map(connections.map(({ name, received }) => [name, received.packets]));
          t.expect("received from b", received.get("b"), 0);
          t.expect("received from a", (received.get("a") ?? 0) > 0, true);
          t.expect("drops of held if_ids are counted", (drops.held ?? 0) > 0, true);
        });
        await t.step("with the device removed meanwhile, whose the if_ids were is still known", async () => {
          await hub.ip("link del ipsec0");
          await apply(EXCHANGES % 2 === 1);
          t.expect("held", (await held()).length, 2);
        });
      } finally {
        for (const socket of [...sockets, sender, upward]) socket.close();
        for (const { tap } of tenants) tap.close();
      }
    },
  });
}

export const ifIdHeldScenarios: readonly Scenario[] = [ifIdHeld(kernelBpf), ifIdHeld(kernelLwt)];

async function makeTenant(t: ScenarioContext, hub: Namespace, subject: Subject, i: 1 | 2): Promise<Tenant> {
  const name = i === 1 ? "a" : "b";
  const peer = t.ns(name);
  const inner = subject.counts ? "10.9.0.1" : `10.${i}.0.1`;
  const outer = await addUplink(t, hub, peer, i);
  await addXfrm(peer, "ipsec0", 10 + i, `${inner}/16`);
  await peer.ip("route add 10.0.0.1/32 dev ipsec0");
  const esp: EspConnection = {
    a: { ns: hub, address: outer.hub, ifId: i },
    b: { ns: peer, address: outer.peer, ifId: 10 + i },
    ...{ spi: 0x10000 * i, reqid: i },
  };
  await connectEsp(esp);
  const tap = new PacketSocket(peer.path, "ipsec0");
  return { name, peer, inner, port: UP + i, marker: `of tenant ${name}`, esp, tap, right: 0, wrong: 0 };
}

/** The policy that gives a and b these if_ids. */
function policyOf({ backend, counts }: Subject, [a, b]: readonly [number, number]): string {
  return `version: 1
backend: ${backend}
interface: {name: ipsec0, guard: false, addresses: [10.0.0.1/32]}
connections:
  a: {if_id: ${a}, subnets: [${counts ? "10.9.0.0/16" : "10.1.0.0/16"}]}
  b: {if_id: ${b}, subnets: [${counts ? "10.9.0.0/16" : "10.2.0.0/16"}]}
${
  counts
    ? `rules:
  - {name: to-a, match: {proto: udp, dport: ${UP + 1}}, to: a}
  - {name: to-b, match: {proto: udp, dport: ${UP + 2}}, to: b}
`
    : ""
}`;
}

/** @returns whether it was killed when packets had met the new policy, and before it had ended */
async function applyKilled(
  t: ScenarioContext,
  hub: Namespace,
  tenants: readonly [Tenant, Tenant],
  policy: string,
): Promise<boolean> {
  const folder = mkdtempSync(join(tmpdir(), "xfrm-steer-held-"));
  try {
    const file = join(folder, "steer.yaml");
    writeFileSync(file, policy);
    const child = hub.start(process.execPath, cliPath, "apply", file);
    const gone = once(child, "exit");
    const arrived = () => tenants.reduce((sum, { right }) => sum + right, 0);
    const quiet = async () => {
      const before = arrived();
      await delay(QUIET_MS);
      return arrived() === before;
    };
    await t.eventually("held: no packet arrives", quiet, true, APPLY_MS);
    child.kill("SIGKILL");
    const [, signal] = await gone;
    return signal === "SIGKILL";
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** Swaps in the same policy with room for such flows, and adds one that no packet is of. */
async function addFlow(hub: Namespace): Promise<void> {
  const row = "src,dst,proto,sport,dport,connection\\n192.0.2.1,192.0.2.2,udp,1,1,a\\n";
  const command = `printf '${row}' | exec '${process.execPath}' '${cliPath}' flow add ipsec0`;
  const { stdout, stderr } = await hub.exec("sh", "-c", command);
  if (stdout !== "added 1 flows\n") throw new Error(`flow add: ${stdout}${stderr}`);
}

/** What the IKE daemon has to do: policies and SAs of both with each other's if_id, SAs with new keys and SPIs. */
async function exchange(
  hub: Namespace,
  tenants: readonly [Tenant, Tenant],
  spiOffset: number,
): Promise<void> {
  const ifIds = tenants.map(({ esp }) => esp.a.ifId as number);
  const policies = (verb: string) =>
    tenants.flatMap(({ esp: { a, b, reqid } }) =>
      (["out", "in", "fwd"] as const).map((dir) => {
        const [src, dst] = dir === "out" ? [a.address, b.address] : [b.address, a.address];
        const template =
          verb === "add" ? `tmpl src ${src} dst ${dst} proto esp reqid ${reqid} mode tunnel` : "";
        return `xfrm policy ${verb} src 0.0.0.0/0 dst 0.0.0.0/0 dir ${dir} if_id ${a.ifId} ${template}`;
      }),
    );
  await hub.ip(policies("delete").join("\n"));
  for (const [i, tenant] of tenants.entries()) {
    const { esp } = tenant;
    const given = { ...esp, a: { ...esp.a, ifId: ifIds[1 - i] as number } };
    tenant.esp = await rekeyEsp(given, 0x10000 * (i + 1) + spiOffset);
  }
  await hub.ip(policies("add").join("\n"));
}

/** Sorts what the peers decrypted. */
function drain(tenants: readonly [Tenant, Tenant]): void {
  tenants.forEach((tenant, i) => {
    const other = tenants[1 - i] as Tenant;
    for (const frame of tenant.tap.drain()) {
      if (frame.includes(tenant.marker)) tenant.right++;
      else if (frame.includes(other.marker)) tenant.wrong++;
    }
  });
}
