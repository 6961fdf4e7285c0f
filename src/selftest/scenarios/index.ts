import type { Scenario } from "../scenario.js";
import { lwtTwoPeers } from "./lwt-two-peers.js";

/** The built-in scenarios, in the order they run. */
export const scenarios: readonly Scenario[] = [lwtTwoPeers];
