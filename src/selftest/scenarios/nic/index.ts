import type { Scenario } from "../../scenario.js";
import { identical } from "./identical.js";
import { kernelSelftests } from "./kernel-selftests.js";
import { limits } from "./limits.js";
import { refusals } from "./refusals.js";
import { rules } from "./rules.js";
import { faults, traffic, trafficRules } from "./traffic.js";

/** Scenarios of the simulated NIC; they run on the host. */
export const simulatedNic: readonly Scenario[] = [
  ...kernelSelftests,
  ...limits,
  ...refusals,
  ...identical,
  ...rules,
  ...traffic,
  ...trafficRules,
  ...faults,
];
