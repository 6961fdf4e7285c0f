import type { Capture } from "./capture.js";
import type { FeatureName } from "./features.js";
import type { Namespace } from "./namespace.js";
import type { Steering } from "./steering/steering.js";

/** One selftest: what it builds, what it needs of the kernel, and the run that proves or fails it. */
export interface Scenario {
  /** Unique; lower case words joined by "-", for --filter and KTAP. */
  name: string;
  /** ASCII drawing of the namespaces, devices and addresses. Shown when the scenario fails. */
  topology: string;
  needs?: readonly FeatureName[];
  /** It asks nothing of the kernel that a VM's could answer otherwise: --vm leaves it out. */
  host?: boolean;
  /** Ends a run that hangs, so it is far above what the slowest machine takes; default 300 000 ms. */
  limitMs?: number;
  /** How long it takes on an emulated CPU of its own; default 5 000 ms. Scenarios are shared out among VMs by it. */
  typicalMs?: number;
  run(t: ScenarioContext): Promise<void>;
}

/** What a scenario's run works with. All that is made through it is removed when the run ends. */
export interface ScenarioContext {
  /** The namespace of that name, made at first use. */
  ns(name: string): Namespace;
  /**
   * Joins two namespaces by a veth pair, up at both ends.
   * @param a and b: device name and addresses ("10.0.0.1/24") in a namespace.
   */
  veth(a: VethEnd, b: VethEnd): Promise<void>;
  /** xfrm-steer in a namespace, for the interface ipsec0; unloaded when the run ends. */
  steer(namespace: Namespace): Steering;
  /** Captures a device's frames from now on. When the scenario fails they are kept as a pcap file. */
  capture(namespace: Namespace, device: string): Capture;
  /**
   * Fails the scenario unless `seen` is deeply equal to `expected`.
   * @param what is expected, in words, for the report.
   */
  expect(what: string, seen: unknown, expected: unknown): void;
  /** As expect, but reads again until equal, for at most `limitMs` (default 10 s). */
  eventually(what: string, read: () => Promise<unknown>, expected: unknown, limitMs?: number): Promise<void>;
  /** A part with a name of its own, reported as a KTAP subtest. Steps do not nest. */
  step(name: string, run: () => Promise<void>): Promise<void>;
  /** A diagnostic line in the report. */
  note(text: string): void;
}

export interface VethEnd {
  ns: Namespace;
  device: string;
  addresses?: readonly string[];
}

/** Declares a scenario; the type is checked, nothing runs. */
export function scenario(definition: Scenario): Scenario {
  return definition;
}

/** Is this value, a file's export, a scenario? */
export function isScenario(value: unknown): value is Scenario {
  const candidate = value as Partial<Scenario> | null;
  return (
    typeof candidate === "object" &&
    typeof candidate?.name === "string" &&
    typeof candidate.topology === "string" &&
    typeof candidate.run === "function"
  );
}
