import type { OffloadState } from "../../../esp/offload/contract.js";
import { OffloadStack, type Verdict } from "../../../esp/offload/stack.js";
import { createDevice } from "../../../simulator/device.js";
import { loopbackState } from "../../../simulator/loopback.js";
import { loadProfile } from "../../../simulator/profile.js";
import { type Scenario, scenario } from "../../scenario.js";
import { DEVICE } from "./attached.js";

const outbound = loopbackState("out", "crypto", { suite: "aes128-gcm", mode: "transport" });
const inbound: OffloadState = { ...outbound, direction: "in" };

export function inWords(verdict: Verdict): string {
  if (verdict.kind === "offloaded") return "offloaded";
  return verdict.kind === "software" ? `software: ${verdict.reason}` : `${verdict.errno}: ${verdict.reason}`;
}

interface Limit {
  /** SAs until the table is full, by direction; "in" and "out" of one table in turn. */
  readonly out: number;
  readonly in: number;
  readonly shared?: boolean;
  /** What one more is answered. */
  readonly answer: Readonly<Record<"in" | "out", string>>;
}

const both = (answer: string) => ({ in: answer, out: answer });

/** From the drivers' sources, which the profiles name. */
const LIMITS: Readonly<Record<string, Limit>> = {
  ixgbe: {
    out: 1024,
    in: 1024,
    answer: { in: "ENOSPC: No space for SA in Rx table!", out: "ENOSPC: No space for SA in Tx table" },
  },
  "mlx5-crypto": {
    out: 65536,
    in: 0,
    shared: true,
    answer: both("ENOMEM: Device failed to offload this state"),
  },
  "mlx5-packet": {
    out: 65536,
    in: 0,
    shared: true,
    answer: both("ENOMEM: Device failed to offload this state"),
  },
  nfp: { out: 8192, in: 8192, shared: true, answer: both("EBUSY: Unable to get sa_data number for IPsec") },
  cn10k: {
    out: 65536,
    in: 0,
    answer: {
      in: "software: sim0: xfrm inbound offload not supported (EOPNOTSUPP)",
      out: "ENOMEM: Error writing outbound SA",
    },
  },
  netdevsim: { out: 17, in: 16, shared: true, answer: both("ENOSPC: No space for SA in Rx table!") },
  bonding: { out: 65536, in: 0, shared: true, answer: both("ENOMEM: Device failed to offload this state") },
  ideal: {
    out: 65536,
    in: 65536,
    answer: { in: "ENOSPC: the receive table is full", out: "ENOSPC: the transmit table is full" },
  },
};

export const limits: readonly Scenario[] = Object.entries(LIMITS).map(([name, limit]) =>
  scenario({
    name: `offload-limit-${name}`,
    host: true,
    topology: `SAs on one device, ${name}: as many as it takes, and one more`,
    async run(t) {
      const device = createDevice(DEVICE, loadProfile(name));
      const stack = new OffloadStack();
      const fill = { out: outbound, in: inbound };
      for (const direction of ["out", "in"] as const) {
        await t.step(`${limit[direction]} SAs ${direction}, and not one more`, async () => {
          let taken = 0;
          while (taken < limit[direction] && stack.add(fill[direction], device).kind === "offloaded") taken++;
          t.expect("SAs offloaded", taken, limit[direction]);
          // One table for both is full only when both have been filled.
          if (limit.shared === true && direction === "out" && limit.in > 0) return;
          t.expect("one more", inWords(stack.add(fill[direction], device)), limit.answer[direction]);
        });
      }
      await t.step("a deleted SA makes room for another", async () => {
        const [first] = stack.states;
        if (first === undefined) throw new Error("the device has no SA");
        stack.remove(first);
        stack.free(first);
        t.expect("another", inWords(stack.add(first.state, device)), "offloaded");
      });
      await t.step("a flush gives back every slot and reference", async () => {
        t.expect("SAs flushed", stack.flush(device).length, limit.out + limit.in);
        t.expect("references", device.references, 0);
      });
    },
  }),
);
