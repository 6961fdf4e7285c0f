import type { Change } from "../compiler/plan.js";
import type { BackendName, Policy } from "../config/policy.js";
import type { Traffic } from "./counters.js";
import type { FlowAnswer, FlowRequest } from "./flow-requests.js";
import type { UnderlayStatus } from "./underlay/status.js";

/** Whether a backend can serve on this machine, and what it would take where it cannot. */
export interface Probe {
  /** Null: not to be known without the rights to try. */
  readonly available: boolean | null;
  /** One sentence: why it can, what is lacking or not known, and which kernel or package has it. */
  readonly reason: string;
}

/** What a connection did since the interface was set up; counters survive generation swaps. */
export interface ConnectionStatus {
  readonly name: string;
  readonly ifId: number;
  readonly link: string | null;
  /** Steered to this connection, by rules or by its subnets. */
  readonly sent: Traffic;
  readonly received: Traffic;
  /** Decrypted, but from a source address that is not the connection's. */
  readonly badSource: Traffic;
  /** Keys and ciphers are the backend's; the kernel backends leave them to `ip xfrm`. */
  readonly sa: SaStatus | null;
}

/** An if_id that went from one connection to another, and is closed until the IKE daemon's SAs have followed. */
export interface HeldIfId {
  readonly ifId: number;
  /** Has it now: its packets are dropped in both directions, where the backend checks what comes in. */
  readonly connection: string;
  /** Had it before. */
  readonly before: string;
  /** SAs with this if_id that are not the connection's, as far as the last apply found any. */
  readonly sas: readonly string[];
}

export interface SaStatus {
  readonly spiOut: number;
  readonly spiIn: number;
  readonly encrypted: Traffic;
  readonly decrypted: Traffic;
}

export interface Status {
  readonly backend: BackendName;
  readonly interface: string;
  readonly ifindex: number;
  readonly generation: number;
  /** ISO 8601 time of the last apply. */
  readonly applied: string;
  readonly connections: readonly ConnectionStatus[];
  readonly rules: readonly { readonly name: string; readonly to: string; readonly matched: Traffic }[];
  /** Packets that neither a rule nor a subnet decided, and what became of them. */
  readonly default: { readonly action: Policy["default"]; readonly matched: Traffic };
  readonly held: readonly HeldIfId[];
  /**
   * Programs that refuse plaintext from the underlay whose source a connection owns; null where there are none. Their
   * packets are among the drops as plaintextFromUnderlay.
   */
  readonly underlay: UnderlayStatus | null;
  /** Drops by reason; those of the data path are named as in /proc/net/xfrm_stat. */
  readonly drops: Readonly<Record<string, number>>;
}

/** What an apply did. */
export interface Applied {
  readonly generation: number;
  readonly created: boolean;
  /** Milliseconds. */
  readonly compileMs: number;
  readonly loadMs: number;
  /** Bytes of the tables in the kernel. */
  readonly tableBytes: number;
  /** What went wrong once packets followed the new policy; the next apply mends it. */
  readonly warning?: string;
  /** If_ids that are held after it; an apply after the IKE daemon's change opens them. Left out where there are none. */
  readonly held?: readonly HeldIfId[];
  /** What the user should know of the machine: what is not routed into the interface, or not guarded, and why. */
  readonly notes?: readonly string[];
}

/**
 * One way to steer. All act on the network namespace of the calling thread.
 *
 * - `apply` makes the policy the running one, creating the interface if there is none. When it throws, what ran before
 *   runs on unchanged.
 * - `loaded` gives the running policy, null where there is none.
 * - `ifIdChanges` gives what an apply of the policy would hold and open of if_ids; backends that never hold one leave it out.
 * - `status` gives null where no interface of this name is set up.
 * - `flows` changes or lists exact flows without a new policy, null where none runs; backends that take flows by apply
 *   only leave it out.
 * - `remove` takes away all that apply made, and nothing else; false where there was nothing.
 */
export interface Backend {
  readonly name: BackendName;
  probe(): Probe;
  /** Names of the interfaces that this backend set up and has not removed, live or left behind. */
  interfaces(): readonly string[];
  apply(policy: Policy): Promise<Applied>;
  loaded(interfaceName: string): Promise<Policy | null>;
  ifIdChanges?(policy: Policy): Promise<readonly Change[]>;
  status(interfaceName: string): Promise<Status | null>;
  flows?(interfaceName: string, request: FlowRequest): Promise<FlowAnswer | null>;
  remove(interfaceName: string): Promise<boolean>;
}
