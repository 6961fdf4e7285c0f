import { existsSync, readdirSync } from "node:fs";
import { setTimeout as delay } from "node:timers/promises";
import { LOSS_MS } from "../../patience.js";
import { scenario } from "../../scenario.js";
import { SteeringProcess } from "../../steering/process.js";
import { kernelBpf } from "../contract/kernel-subject.js";
import { buildHub, RULES, routeInto, TOPOLOGY } from "../contract/steering.js";
import { type Hub, policyOf } from "../contract/subject.js";
import { packetsBySpi } from "../hub.js";
import { interfacePins, pinFolder } from "./pin-folder.js";

/** With those that hit the first apply, 20. */
const KILLS = 16;
const FIRST_KILLS = 4;

/**
 * Starts an apply in a new process and kills it after so many milliseconds, or once it has finished.
 * @param up of that process: it is there and has its modules
 * @returns the milliseconds that it took; null where it had not finished
 */
async function applyKilled(
  hub: Hub,
  process: SteeringProcess,
  policy: string,
  afterMs: number,
  up: Promise<unknown> = hub.status(),
): Promise<number | null> {
  await up;
  const started = performance.now();
  const applying = hub.apply(policy).then(
    () => performance.now() - started,
    () => null,
  );
  await Promise.race([applying, delay(afterMs)]);
  await process.end();
  return await applying;
}

export const killedApply = scenario({
  name: "kernel-bpf-apply-killed-at-random-points",
  topology: TOPOLOGY,
  needs: kernelBpf.needs,
  limitMs: 600_000,
  typicalMs: 65_000,
  async run(t) {
    const process = new SteeringProcess();
    const { hub, branches } = await buildHub(t, kernelBpf, { process });
    // Who gets 10.1.0.77 tells them apart: b by a rule, a by its subnets.
    const policies = [
      policyOf(kernelBpf, branches, { rules: RULES }),
      policyOf(kernelBpf, branches),
    ] as const;
    await hub.use(async () => {
      await hub.status();
      const started = performance.now();
      await hub.apply(policies[0]);
      // Of the first apply of its process, as each of those is that are killed; later ones are faster.
      let applyMs = performance.now() - started;
      await hub.unload();
      await process.end();
      await t.step("killed while it sets up: the next apply or unload cleans up", async () => {
        for (let kill = 1; kill <= FIRST_KILLS; kill++) {
          await applyKilled(hub, process, policies[0], (applyMs * kill) / (FIRST_KILLS + 1));
          if (kill % 2 === 1) continue; // the next one finds what this one left, too
          if (kill === FIRST_KILLS) await hub.apply(policies[0]);
          await hub.unload();
          t.expect("devices", [...(await hub.ns.links()).keys()], ["lo", "v01", "v02"]);
          t.expect("pins", existsSync(pinFolder(hub.ns)), false);
          await process.end();
        }
      });
      await t.step("killed while it swaps: the old or the new generation serves", async () => {
        await hub.apply(policies[0]);
        await routeInto(hub);
        let last = 0;
        let before = await packetsBySpi(hub.ns);
        await process.end();
        let up: Promise<unknown> = hub.status();
        for (let kill = 0; kill < KILLS; kill++) {
          const next = 1 - last;
          const after = Math.random() * applyMs;
          applyMs = (await applyKilled(hub, process, policies[next] as string, after, up)) ?? applyMs;
          up = hub.status();
          await hub.ns.ping("10.1.0.77", { count: 1, waitMs: LOSS_MS });
          t.expect("ping", await hub.ns.ping("10.1.0.1", { count: 1 }), { sent: 1, received: 1 });
          const now = await packetsBySpi(hub.ns);
          const byB = (now["0x2000"] ?? 0) - (before["0x2000"] ?? 0);
          const byA = (now["0x1000"] ?? 0) - (before["0x1000"] ?? 0) - 1; // without the second ping's
          t.expect(`killed after ${after.toFixed(1)} ms: packets that left`, byA + byB, 1);
          const serving = byB === 1 ? 0 : 1;
          t.note(
            `killed after ${after.toFixed(1)} ms: the ${serving === next ? "new" : "old"} generation serves`,
          );
          before = now;
          last = serving;
        }
      });
      await t.step("the next apply leaves one generation", async () => {
        const { generation } = await hub.apply(policies[0]);
        t.expect("pins", readdirSync(interfacePins(hub.ns)).sort(), [
          "egress",
          `gen-${generation}`,
          "ingress",
        ]);
      });
    });
    await process.end();
  },
});
