import type { Scenario } from "../scenario.js";
import { bpfRules } from "./bpf-rules.js";
import { bpfTwoPeers } from "./bpf-two-peers.js";
import { customProgram } from "./custom-program.js";
import { oneExternalPerNamespace, perIfIdDeviceWins } from "./device-order.js";
import { externalDrops } from "./external-drops.js";
import { faults } from "./faults/index.js";
import { fiveTuples } from "./five-tuples.js";
import { fragments } from "./fragments.js";
import { interop } from "./interop/index.js";
import { kernelBackends } from "./kernel-bpf/index.js";
import { libbpfTs } from "./libbpf-ts.js";
import { linkPicksUnderlay } from "./link-underlay.js";
import { lwtTransport } from "./lwt-transport.js";
import { lwtTwoPeers } from "./lwt-two-peers.js";
import { manyIfIds } from "./many-if-ids.js";
import { modes } from "./modes.js";
import { moduleUnload } from "./module-unload.js";
import { simulatedNic } from "./nic/index.js";
import { offloadWithoutHardware } from "./offload.js";
import { plainTools } from "./plain-tools.js";
import { pmtu } from "./pmtu.js";
import { rekey } from "./rekey.js";
import { twoLibbpfs } from "./two-libbpfs.js";

/** The built-in scenarios, in the order they run. */
export const scenarios: readonly Scenario[] = [
  lwtTwoPeers,
  bpfTwoPeers,
  ...modes,
  lwtTransport,
  ...externalDrops,
  perIfIdDeviceWins,
  oneExternalPerNamespace,
  linkPicksUnderlay,
  ...bpfRules,
  fragments,
  ...pmtu,
  rekey,
  offloadWithoutHardware,
  ...simulatedNic,
  moduleUnload,
  plainTools,
  twoLibbpfs,
  ...libbpfTs,
  fiveTuples,
  manyIfIds,
  ...kernelBackends,
  ...customProgram,
  ...interop,
  ...faults,
];
