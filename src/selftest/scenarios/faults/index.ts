import type { Scenario } from "../../scenario.js";
import { ifIdHeldScenarios } from "./if-id-held.js";

/** What goes wrong around the data path: nothing leaves in the clear, and nothing reaches a wrong connection. */
export const faults: readonly Scenario[] = [...ifIdHeldScenarios];
