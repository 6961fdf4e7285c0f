import { randomInt } from "node:crypto";
import { readFileSync } from "node:fs";
import { setTimeout as delay } from "node:timers/promises";
import { SeededRandom } from "../../../bench/random.js";
import { command } from "../../command.js";
import { type Scenario, type ScenarioContext, scenario } from "../../scenario.js";
import { SteeringProcess } from "../../steering/process.js";
import { buildHub, RULES } from "../contract/steering.js";
import { type Hub, policyOf, type Subject } from "../contract/subject.js";
import { tenantsTraffic } from "./traffic.js";
import { Wires } from "./wires.js";

/** How often something is killed; XFRM_STEER_KILLS says otherwise. */
const KILLS = 20;
/** Longest wait before a kill: longer than an apply takes. */
const UNTIL_KILL_MS = 1_500;

const TOPOLOGY = `
            hub                                   a
    ipsec0                                 ipsec0
    10.0.0.1 fd00::1                       10.1.0.1 fd00:1::1
    172.16.1.100 v01 ================= v10 172.16.1.200

    172.16.2.100 v02 ================= v20 172.16.2.200
                                           10.2.0.1 fd00:2::1     b
    198.51.100.1 world --------------- hub 198.51.100.2
    2001:db8::1  (default routes)                                 world
`;

/** kill -9 of whatever is ours, at random points, under traffic: nothing in the clear, nothing to a wrong peer. */
export function killed(subject: Subject): Scenario {
  return scenario({
    name: `faults-kill-${subject.backend}`,
    topology: TOPOLOGY,
    needs: subject.needs,
    host: subject.backend === "userspace",
    limitMs: 3_600_000,
    typicalMs: 90_000,
    async run(t) {
      const kills = Number(process.env.XFRM_STEER_KILLS ?? KILLS);
      const seed = Number(process.env.XFRM_STEER_SEED ?? randomInt(2 ** 31));
      const random = new SeededRandom(seed);
      t.note(`${kills} kills, seed ${seed} (XFRM_STEER_KILLS and XFRM_STEER_SEED set them)`);
      const applying = new SteeringProcess();
      const { hub, branches } = await buildHub(t, subject, { process: applying });
      await addWorld(t, hub);
      // A capture would hold several datagrams of ESP as one GSO frame, of which it does not tell the size.
      await hub.ns.ip(branches.map(({ ifId }) => `link set dev v0${ifId} gso_max_segs 1`).join("\n"));
      const policies = [
        policyOf(subject, branches, { rules: RULES, device: "routes: true" }),
        policyOf(subject, branches, { device: "routes: true" }),
      ] as const;
      const wires = new Wires(hub.ns, branches, hub.folder);
      try {
        await hub.use(async () => {
          await hub.apply(policies[0]);
          const traffic = tenantsTraffic(branches);
          try {
            for (let kill = 1; kill <= kills; kill++) {
              const policy = policies[kill % 2] as string;
              await killSomething(hub, applying, policy, random);
              await delay(random.below(100));
              await hub.apply(policy);
              const check = await servingCheck(hub, subject, wires);
              await t.eventually(`after kill ${kill}: what does not pass`, check, []);
            }
          } finally {
            traffic.stop();
          }
          wires.look();
          t.note(`${traffic.sent()} datagrams sent; on the wires: ${JSON.stringify(wires.total)}`);
        });
      } finally {
        await applying.end();
        wires.close();
      }
      t.expect("packets in the clear", wires.total.clear, 0);
      t.expect("packets to a wrong peer", wires.total.wrong, 0);
    },
  });
}

/** The rest of the world, to which the hub's default routes lead. */
export async function addWorld(t: ScenarioContext, hub: Hub): Promise<void> {
  await t.veth(
    { ns: hub.ns, device: "world", addresses: ["198.51.100.1/24", "2001:db8::1/64"] },
    { ns: t.ns("world"), device: "hub", addresses: ["198.51.100.2/24", "2001:db8::2/64"] },
  );
  const routes = ["default via 198.51.100.2", "default via 2001:db8::2"];
  await hub.ns.ip(routes.map((route) => `route add ${route} dev world`).join("\n"));
}

/** @returns what tells which tenants' packets do not pass yet, on their way out and on their way in */
async function servingCheck(hub: Hub, subject: Subject, wires: Wires): Promise<() => Promise<string[]>> {
  const received = async () =>
    (await hub.status())?.connections.map(({ name, received }) => ({ name, packets: received.packets })) ??
    [];
  wires.look(); // what was under way before does not count
  const before = new Map((await received()).map(({ name, packets }) => [name, packets]));
  const sent = new Set<string>();
  return async () => {
    for (const name of Object.keys(wires.look())) sent.add(name);
    const now = await received();
    return now.flatMap(({ name, packets }) => [
      ...(sent.has(name) ? [] : [`${name} out`]),
      ...(!subject.counts || packets > (before.get(name) ?? 0) ? [] : [`${name} in`]),
    ]);
  };
}

/** Kills the service, the process that applies, or both, at a random moment. */
async function killSomething(
  hub: Hub,
  applying: SteeringProcess,
  policy: string,
  random: SeededRandom,
): Promise<void> {
  const services = await servicesOf(hub);
  const victim = services.length === 0 ? 1 : random.below(3);
  const change = victim === 0 ? null : hub.apply(policy).catch(() => null);
  await Promise.race([delay(random.below(UNTIL_KILL_MS)), change ?? delay(UNTIL_KILL_MS)]);
  if (victim !== 1) for (const pid of await servicesOf(hub)) killIfThere(pid);
  if (victim !== 0) await applying.end();
  await change;
}

function killIfThere(pid: number): void {
  try {
    process.kill(pid, "SIGKILL");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error;
  }
}

/** Processes of the hub's namespace that serve its interface. */
async function servicesOf(hub: Hub): Promise<number[]> {
  const pids = (await command("ip", ["netns", "pids", hub.ns.handle])).split("\n").filter(Boolean);
  return pids.map(Number).filter((pid) => commandLine(pid).includes("userspace/daemon.js"));
}

function commandLine(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, "latin1");
  } catch {
    return "";
  }
}
