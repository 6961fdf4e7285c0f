import type { Applied, Status } from "../../backends/backend.js";
import { type BackendName, formatDiagnostic, type Policy, parsePolicy } from "../../config/index.js";
import type { Namespace } from "../namespace.js";
import { SteeringProcess } from "./process.js";

const shared = new SteeringProcess();

export interface SteeringOptions {
  /** The policies' interface; default ipsec0. */
  name?: string;
  /** Which process does it; default the one that all scenarios of a run share. */
  process?: SteeringProcess;
}

/** xfrm-steer in one namespace, with one interface. */
export class Steering {
  readonly process: SteeringProcess;
  readonly #netns: string;
  readonly #name: string;
  /** Of the last apply; null before the first. */
  #backend: BackendName | null = null;

  constructor(namespace: Namespace, { name = "ipsec0", process = shared }: SteeringOptions = {}) {
    this.#netns = namespace.path;
    this.#name = name;
    this.process = process;
  }

  /**
   * Makes a policy the running one.
   * @param policy a steer.yaml, with its `backend`; or one that is parsed, which a large one is quicker as
   * @param file where it would be, for the keys' paths
   * @throws Error with the diagnostics, or with what could not be done
   */
  async apply(policy: string | Policy, file = "steer.yaml"): Promise<Applied> {
    const parsed = typeof policy === "string" ? parsePolicyText(policy, file) : policy;
    if (parsed.backend === "auto") throw new Error("a scenario's policy has to name its backend");
    this.#backend = parsed.backend;
    const request = {
      netns: this.#netns,
      backend: parsed.backend,
      operation: "apply",
      policy: parsed,
    } as const;
    return (await this.process.ask(request)) as Applied;
  }

  /** Connections, rules and counters; null where nothing is set up. */
  async find(): Promise<Status | null> {
    return (await this.#ask("status")) as Status | null;
  }

  /** As find(). @throws Error where nothing is set up */
  async status(): Promise<Status> {
    const status = await this.find();
    if (status === null) throw new Error(`no policy runs on ${this.#name}`);
    return status;
  }

  /** @returns false where nothing was set up */
  async unload(): Promise<boolean> {
    return ((await this.#ask("unload")) as boolean | null) ?? false;
  }

  async #ask(operation: "status" | "unload"): Promise<unknown> {
    if (this.#backend === null) return null; // nothing to start a process for
    const { process } = this;
    return await process.ask({ netns: this.#netns, backend: this.#backend, operation, name: this.#name });
  }
}

/** @param file where it would be, for the keys' paths. @throws Error with the diagnostics */
export function parsePolicyText(text: string, file: string): Policy {
  const { policy, diagnostics } = parsePolicy(text, file);
  if (policy === null) throw new Error(diagnostics.map(formatDiagnostic).join("\n"));
  return policy;
}
