import type { Scenario } from "../scenario.js";
import { oneExternalPerNamespace, perIfIdDeviceWins } from "./device-order.js";
import { externalDrops } from "./external-drops.js";
import { linkPicksUnderlay } from "./link-underlay.js";
import { lwtModes } from "./lwt-modes.js";
import { lwtTransport } from "./lwt-transport.js";
import { lwtTwoPeers } from "./lwt-two-peers.js";

/** The built-in scenarios, in the order they run. */
export const scenarios: readonly Scenario[] = [
  lwtTwoPeers,
  ...lwtModes,
  lwtTransport,
  ...externalDrops,
  perIfIdDeviceWins,
  oneExternalPerNamespace,
  linkPicksUnderlay,
];
