import type { Scenario } from "../../scenario.js";
import { link } from "./link.js";
import { steering } from "./steering.js";
import type { Subject } from "./subject.js";
import { swap } from "./swap.js";

/** What every backend has to do, as scenarios. */
export function contract(subject: Subject): Scenario[] {
  return [steering(subject), link(subject), swap(subject)];
}
