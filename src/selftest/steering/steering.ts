import type { Applied, Status } from "../../backends/backend.js";
import type { Policy } from "../../config/policy.js";
import type { Namespace } from "../namespace.js";
import { SteeringProcess } from "./process.js";

const shared = new SteeringProcess();

/** xfrm-steer in one namespace, with one interface. */
export class Steering {
  readonly #netns: string;
  readonly #name: string;
  readonly #process: SteeringProcess;
  #applied = false;

  /**
   * @param name the policies' interface
   * @param process by which process; default the one that all scenarios of a run share
   */
  constructor(namespace: Namespace, name = "ipsec0", process: SteeringProcess = shared) {
    this.#netns = namespace.path;
    this.#name = name;
    this.#process = process;
  }

  /**
   * Makes a policy the running one.
   * @param policy a steer.yaml, with its `backend`; or one that is parsed, which a large one is quicker as
   * @throws Error with the diagnostics, or with what could not be done
   */
  async apply(policy: string | Policy): Promise<Applied> {
    this.#applied = true;
    return (await this.#process.ask({ operation: "apply", netns: this.#netns, policy })) as Applied;
  }

  /** Connections, rules and counters. @throws Error where nothing is set up */
  async status(): Promise<Status> {
    const status = await this.#process.ask({ operation: "status", netns: this.#netns, name: this.#name });
    if (status === null) throw new Error(`no policy runs on ${this.#name}`);
    return status as Status;
  }

  /** @returns false where nothing was set up */
  async unload(): Promise<boolean> {
    if (!this.#applied) return false; // nothing to start a process for
    return (await this.#process.ask({
      operation: "unload",
      netns: this.#netns,
      name: this.#name,
    })) as boolean;
  }
}
