import type {
  AddResult,
  OffloadDevice,
  OffloadPolicy,
  OffloadState,
  OffloadStatistics,
  XfrmdevOps,
} from "../esp/offload/contract.js";
import type { FaultName } from "./faults.js";
import { ContractError, type SimulatedNic } from "./nic.js";
import { PortMemory } from "./port-memory.js";
import { SaMemory } from "./sa-memory.js";

interface BondedSa {
  readonly state: OffloadState;
  readonly memory: SaMemory;
  /** Handle in the active port; null when that refused the SA. */
  handle: number | null;
  /** Deleted and not freed: it moves to no other port (bond_ipsec_add_sa_all leaves out what is XFRM_STATE_DEAD). */
  deleted: boolean;
}

/**
 * An active-backup bond: it has the operations of its active port, and at a failover it takes every SA off the port that
 * failed and adds it to the other (drivers/net/bonding/bond_main.c, bond_ipsec_del_sa_all and bond_ipsec_add_sa_all). An
 * SA that the other port refuses is left to software.
 */
export class SimulatedBond implements OffloadDevice, XfrmdevOps {
  readonly name: string;
  readonly ports: readonly [SimulatedNic, SimulatedNic];
  readonly memory = new PortMemory();
  readonly #sas = new Map<number, BondedSa>();
  #active: 0 | 1 = 0;
  #nextHandle = 1;
  #references = 0;

  constructor(name: string, ports: readonly [SimulatedNic, SimulatedNic]) {
    this.name = name;
    this.ports = ports;
    this.memory.features = this.active.features;
  }

  get faults(): Set<FaultName> {
    return this.active.faults;
  }

  get active(): SimulatedNic {
    return this.ports[this.#active];
  }

  get ops(): XfrmdevOps {
    return this;
  }

  get operations(): XfrmdevOps["operations"] {
    // What it keeps of an SA itself is freed by this one, whether or not the port has it.
    return new Set([...this.active.operations, "state_free"]);
  }

  get features(): number {
    return this.active.features;
  }

  get up(): boolean {
    return this.memory.up;
  }

  get references(): number {
    return this.#references;
  }

  hold(): void {
    this.#references++;
  }

  put(): void {
    if (this.#references === 0)
      throw new ContractError(`${this.name}: a reference is given back that nobody holds`);
    this.#references--;
  }

  setUp(up: boolean): void {
    this.memory.up = up;
  }

  /** The active port goes down and the other takes over. */
  failover(): void {
    const before = this.active;
    const states = [...this.#sas.values()];
    for (const { handle, deleted } of states) {
      if (handle === null) continue;
      if (!deleted) before.state_delete(handle);
      if (before.operations.has("state_free")) before.state_free(handle);
    }
    before.setUp(false);
    this.#active = this.#active === 0 ? 1 : 0;
    this.active.setUp(true);
    for (const sa of states) {
      const added = sa.deleted ? null : this.active.state_add(sa.state, sa.memory);
      sa.handle = added !== null && "handle" in added ? added.handle : null;
    }
    this.memory.features = this.active.features;
  }

  state_add(state: OffloadState): AddResult {
    const memory = new SaMemory();
    const added = this.active.state_add(state, memory);
    if (!("handle" in added)) return added;
    const handle = this.#nextHandle++;
    this.#sas.set(handle, { state, memory, handle: added.handle, deleted: false });
    return { handle };
  }

  state_delete(handle: number): void {
    const sa = this.#sa(handle, "state_delete");
    sa.deleted = true;
    if (sa.handle !== null) this.active.state_delete(sa.handle);
  }

  state_free(handle: number): void {
    const sa = this.#sa(handle, "state_free");
    if (sa.handle !== null && this.active.operations.has("state_free")) this.active.state_free(sa.handle);
    this.#sas.delete(handle);
  }

  advance_esn(handle: number, high: number): void {
    const sa = this.#sa(handle, "advance_esn");
    if (sa.handle !== null) this.active.advance_esn(sa.handle, high);
  }

  update_stats(handle: number): OffloadStatistics {
    return this.#sa(handle, "update_stats").memory.statistics;
  }

  policy_add(_policy: OffloadPolicy): AddResult {
    return { errno: "EINVAL", extack: "Policy offload is not supported" };
  }

  policy_delete(): void {
    throw new ContractError(`${this.name}: a bond has no policies`);
  }

  policy_free(): void {
    throw new ContractError(`${this.name}: a bond has no policies`);
  }

  memoryOf(handle: number): SaMemory {
    return this.#sa(handle, "memoryOf").memory;
  }

  #sa(handle: number, operation: string): BondedSa {
    const sa = this.#sas.get(handle);
    if (sa === undefined)
      throw new ContractError(`${this.name}: ${operation} of handle ${handle}, which is no SA's`);
    return sa;
  }
}
