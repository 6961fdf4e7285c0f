import type { Scenario } from "../../scenario.js";
import { follow } from "../contract/follow.js";
import { contract } from "../contract/index.js";
import { kernelBpf, kernelLwt } from "../contract/kernel-subject.js";
import { killedApply } from "./crash.js";
import { foundDevice } from "./device.js";
import { liveFlows } from "./live-flows.js";
import { manySwaps } from "./swaps.js";

/** The kernel backends: the contract of all backends, and what is theirs alone. */
export const kernelBackends: readonly Scenario[] = [
  ...contract(kernelBpf),
  follow(kernelBpf),
  foundDevice,
  manySwaps,
  killedApply,
  liveFlows,
  ...contract(kernelLwt),
  follow(kernelLwt),
];
