import test from "ava";
import type { OffloadState } from "../../src/esp/offload/contract.js";
import {
  DEFAULT_KERNEL,
  type KernelVersion,
  OffloadStack,
  type Verdict,
} from "../../src/esp/offload/stack.js";
import { SimulatedNic } from "../../src/simulator/nic.js";
import { loadProfile } from "../../src/simulator/profile.js";
import { offloadState } from "./states.js";

const nic = (profile: string, faults: ConstructorParameters<typeof SimulatedNic>[2] = new Set()) =>
  new SimulatedNic("sim0", loadProfile(profile).ports[0], faults);

/** What is asked of an add: its answer, in one word and the reason. */
const answers = test.macro({
  exec(
    t,
    profile: string | null,
    state: Partial<OffloadState>,
    expected: string,
    kernel: KernelVersion = DEFAULT_KERNEL,
    fault?: "add-eopnotsupp" | "add-einval",
  ) {
    const device = profile === null ? null : nic(profile, new Set(fault ? [fault] : []));
    t.is(inWords(new OffloadStack(kernel).add(offloadState(state), device)), expected);
    t.is(device?.references ?? 0, expected === "offloaded" ? (state.type === "packet" ? 2 : 1) : 0);
    t.is(device?.used.policies ?? 0, expected === "offloaded" && state.type === "packet" ? 1 : 0);
  },
  title: (name) => name ?? "",
});

function inWords(verdict: Verdict): string {
  if (verdict.kind === "offloaded") return "offloaded";
  return verdict.kind === "software" ? `software: ${verdict.reason}` : `${verdict.errno}: ${verdict.reason}`;
}

test("an SA is offloaded, and holds the device", answers, "ideal", {}, "offloaded");
test("packet offload takes a policy with the SA", answers, "mlx5-packet", { type: "packet" }, "offloaded");
test(
  "crypto offload falls back where there is no device",
  answers,
  null,
  {},
  "software: there is no such device",
);
test(
  "packet offload does not",
  answers,
  null,
  { type: "packet" },
  "EINVAL: there is no such device, and packet offload never falls back",
);
test(
  "crypto offload falls back on EOPNOTSUPP",
  answers,
  "ideal",
  {},
  "software: sim0: injected: state_add (EOPNOTSUPP)",
  DEFAULT_KERNEL,
  "add-eopnotsupp",
);
test(
  "packet offload does not, and takes its policy back",
  answers,
  "ideal",
  { type: "packet" },
  "EOPNOTSUPP: injected: state_add",
  DEFAULT_KERNEL,
  "add-eopnotsupp",
);
test(
  "any other error fails the SA",
  answers,
  "ideal",
  {},
  "EINVAL: injected: state_add",
  DEFAULT_KERNEL,
  "add-einval",
);
test(
  "ESN needs advance_esn",
  answers,
  "netdevsim",
  { esn: true },
  "EINVAL: Device doesn't support offload with ESN",
);
test(
  "packet offload needs policy_add",
  answers,
  "ixgbe",
  { type: "packet" },
  "EINVAL: Policy offload is not supported",
);
test(
  "traffic-flow padding is refused",
  answers,
  "ideal",
  { tfcpad: 512 },
  "EINVAL: TFC padding can't be offloaded",
);
test(
  "an inbound if_id is taken before 6.16",
  answers,
  "ideal",
  { direction: "in", ifId: 7 },
  "offloaded",
  [6, 15],
);
test(
  "and refused from then on",
  answers,
  "ideal",
  { direction: "in", ifId: 7 },
  "EINVAL: XFRM if_id is not supported in RX path",
  [6, 16],
);
test("an outbound if_id is taken", answers, "ideal", { ifId: 7 }, "offloaded", [7, 2]);
test("ESP in UDP is taken from 6.11 on", answers, "ideal", { encapsulation: "udp" }, "offloaded", [6, 11]);
test(
  "and refused before",
  answers,
  "ideal",
  { encapsulation: "udp" },
  "EINVAL: Encapsulation and TFC padding can't be offloaded",
  [6, 10],
);
test(
  "packet offload takes it from 6.6 on",
  answers,
  "mlx5-packet",
  { type: "packet", encapsulation: "udp" },
  "offloaded",
  [6, 6],
);

test("flushing a device deletes its SAs and policies, gives back every reference and leaves others alone", (t) => {
  const stack = new OffloadStack();
  const [one, other] = [nic("mlx5-packet"), nic("ixgbe")];
  for (const type of ["packet", "packet", "crypto"] as const) stack.add(offloadState({ type }), one);
  stack.add(offloadState(), other);
  t.is(one.references, 5);
  t.is(stack.flush(one).length, 3);
  t.deepEqual(one.used, { in: 0, out: 0, policies: 0, addresses: 0 });
  t.deepEqual([one.references, other.references], [0, 1]);
});
