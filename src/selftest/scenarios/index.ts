import type { Scenario } from "../scenario.js";
import { oneExternalPerNamespace, perIfIdDeviceWins } from "./device-order.js";
import { externalDrops } from "./external-drops.js";
import { linkPicksUnderlay } from "./link-underlay.js";
import { lwtModes } from "./lwt-modes.js";
import { lwtTwoPeers } from "./lwt-two-peers.js";
import { transport } from "./transport-redirect.js";

/** The built-in scenarios, in the order they run. */
export const scenarios: readonly Scenario[] = [
  lwtTwoPeers,
  ...lwtModes,
  transport,
  ...externalDrops,
  perIfIdDeviceWins,
  oneExternalPerNamespace,
  linkPicksUnderlay,
];
