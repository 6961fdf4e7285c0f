import {
  type AddResult,
  FEATURES,
  type FeatureName,
  type OffloadDevice,
  type OffloadDirection,
  type OffloadPolicy,
  type OffloadState,
  type OffloadStatistics,
  type XfrmdevOps,
} from "../esp/offload/contract.js";
import type { FaultName } from "./faults.js";
import { PortMemory } from "./port-memory.js";
import { featureProblem, type NicProfile, type StateCheck } from "./profile.js";
import { SaMemory } from "./sa-memory.js";
import { SlotTable } from "./slot-table.js";

/** An SA in the device's table. */
export interface SaSlot {
  readonly state: OffloadState;
  readonly memory: SaMemory;
}

/** An operation was called that the contract does not allow here. `message` says which and why. */
export class ContractError extends Error {
  override readonly name = "ContractError";
}

/**
 * One port of a simulated device: the driver's half of the contract, with the tables of its profile. It decides and
 * keeps count; what encrypts is in hardware.ts.
 */
export class SimulatedNic implements OffloadDevice, XfrmdevOps {
  readonly name: string;
  readonly profile: NicProfile;
  readonly operations: XfrmdevOps["operations"];
  readonly memory: PortMemory;
  /** What goes wrong as SAs are added. */
  readonly faults: Set<FaultName>;
  readonly #in: SlotTable<SaSlot>;
  readonly #out: SlotTable<SaSlot>;
  readonly #policies: SlotTable<OffloadPolicy>;
  readonly #addresses = new Map<string, number>();
  #references = 0;
  /** Packets of SAs that are gone. */
  #transmittedBefore = 0;

  constructor(name: string, profile: NicProfile, faults = new Set<FaultName>()) {
    this.name = name;
    this.profile = profile;
    this.operations = new Set(profile.operations);
    this.faults = faults;
    this.memory = new PortMemory();
    this.memory.features = profile.features.reduce((sum, feature) => sum | FEATURES[feature], 0);
    const { slots, handles } = profile;
    if ("shared" in slots) {
      const first = handles !== undefined && "shared" in handles ? handles.shared : 1;
      this.#in = new SlotTable(slots.shared, first);
      this.#out = this.#in;
    } else {
      const first = handles !== undefined && "in" in handles ? handles : { in: 1, out: 1 + slots.in };
      this.#in = new SlotTable(slots.in, first.in);
      this.#out = new SlotTable(slots.out, first.out);
    }
    this.#policies = new SlotTable(profile.operations.includes("policy_add") ? 2 ** 20 : 0, 1);
  }

  get ops(): XfrmdevOps {
    return this;
  }

  get features(): number {
    return this.memory.features;
  }

  get up(): boolean {
    return this.memory.up;
  }

  /** SAs and policies that refer to the device. */
  get references(): number {
    return this.#references;
  }

  /** Slots that are taken. */
  get used(): {
    readonly in: number;
    readonly out: number;
    readonly policies: number;
    readonly addresses: number;
  } {
    return {
      in: this.#in.used,
      out: this.#out.used,
      policies: this.#policies.used,
      addresses: this.#addresses.size,
    };
  }

  hold(): void {
    this.#references++;
  }

  put(): void {
    if (this.#references === 0)
      throw new ContractError(`${this.name}: a reference is given back that nobody holds`);
    this.#references--;
  }

  /**
   * ethtool -K.
   * @throws ContractError when the kernel refuses: what a feature depends on is missing
   */
  setFeature(feature: FeatureName, on: boolean): void {
    const names = (Object.keys(FEATURES) as FeatureName[]).filter((name) =>
      name === feature ? on : (this.features & FEATURES[name]) !== 0,
    );
    const problem = featureProblem(new Set(names), this.operations);
    if (problem !== null) throw new ContractError(`${this.name}: ${problem}`);
    this.memory.features = names.reduce((sum, name) => sum | FEATURES[name], 0);
  }

  setUp(up: boolean): void {
    this.memory.up = up;
  }

  /** @param memory of an SA that comes from another port of a bond */
  state_add(state: OffloadState, memory = new SaMemory()): AddResult {
    this.#demand("state_add");
    if (this.faults.has("add-eopnotsupp")) return { errno: "EOPNOTSUPP", extack: "injected: state_add" };
    if (this.faults.has("add-einval")) return { errno: "EINVAL", extack: "injected: state_add" };
    const { profile } = this;
    const refused = firstFailure(profile.checks, state);
    if (refused !== null) return refused;
    const table = this.#table(state.direction);
    if (table.full || this.faults.has("table-full")) return this.#full(state.direction);
    const wrongKey = firstFailure(profile.keys, state);
    if (wrongKey !== null) return wrongKey;
    if (!this.#takeAddress(state)) return refusal(profile.full.addresses);
    memory.alive = true;
    memory.present = true;
    return { handle: table.take({ state, memory }) };
  }

  state_delete(handle: number): void {
    this.#demand("state_delete");
    const slot = this.#slot(handle, "state_delete");
    if (!slot.memory.present)
      throw new ContractError(`${this.name}: state_delete of handle ${handle}, which is deleted`);
    slot.memory.present = false;
    if (this.profile.release === "delete") this.#release(handle, slot);
  }

  state_free(handle: number): void {
    this.#demand("state_free");
    if (this.profile.release === "delete") return;
    const slot = this.#slot(handle, "state_free");
    if (slot.memory.present)
      throw new ContractError(`${this.name}: state_free of handle ${handle} before state_delete`);
    this.#release(handle, slot);
  }

  advance_esn(handle: number, high: number): void {
    this.#demand("advance_esn");
    this.#slot(handle, "advance_esn").memory.esnHigh = high;
  }

  update_stats(handle: number): OffloadStatistics {
    this.#demand("update_stats");
    return this.#slot(handle, "update_stats").memory.statistics;
  }

  policy_add(policy: OffloadPolicy): AddResult {
    this.#demand("policy_add");
    const refused = firstFailure(this.profile.policies, policy);
    if (refused !== null) return refused;
    return { handle: this.#policies.take(policy) };
  }

  policy_delete(handle: number): void {
    this.#demand("policy_delete");
    if (this.#policies.get(handle) === undefined)
      throw new ContractError(`${this.name}: policy_delete of handle ${handle}, which is no policy's`);
    this.#policies.release(handle);
  }

  policy_free(_handle: number): void {
    this.#demand("policy_free");
  }

  /** Packets that the port encrypted. */
  get transmitted(): number {
    let sum = this.#transmittedBefore;
    for (const [, { state, memory }] of this.slots())
      if (state.direction === "out") sum += memory.statistics.packets;
    return sum;
  }

  /** Of an SA in the table. */
  memoryOf(handle: number): SaMemory {
    return this.#slot(handle, "memoryOf").memory;
  }

  /** The table's SAs with their slot's number; of a device with a table each, first the inbound ones. */
  *slots(): Generator<readonly [number, SaSlot]> {
    yield* this.#in.entries();
    if (this.#out !== this.#in) yield* this.#out.entries();
  }

  #table(direction: OffloadDirection): SlotTable<SaSlot> {
    return direction === "in" ? this.#in : this.#out;
  }

  #slot(handle: number, operation: string): SaSlot {
    const slot = this.#in.get(handle) ?? this.#out.get(handle);
    if (slot === undefined)
      throw new ContractError(`${this.name}: ${operation} of handle ${handle}, which is no SA's`);
    return slot;
  }

  #full(direction: OffloadDirection): AddResult {
    const { full } = this.profile;
    return refusal(full[direction] ?? full.shared);
  }

  /** Devices that match addresses in a table of their own (ixgbe) share its entries. */
  #takeAddress({ direction, destination }: OffloadState): boolean {
    const { addresses } = this.profile;
    if (direction === "out" || addresses === undefined) return true;
    const count = this.#addresses.get(destination) ?? 0;
    if (count === 0 && this.#addresses.size >= addresses) return false;
    this.#addresses.set(destination, count + 1);
    return true;
  }

  #release(handle: number, { state, memory }: SaSlot): void {
    if (state.direction === "out") this.#transmittedBefore += memory.statistics.packets;
    this.#table(state.direction).release(handle);
    const { direction, destination } = state;
    if (direction === "out" || this.profile.addresses === undefined) return;
    const count = (this.#addresses.get(destination) ?? 0) - 1;
    if (count > 0) this.#addresses.set(destination, count);
    else this.#addresses.delete(destination);
  }

  #demand(operation: NicProfile["operations"][number]): void {
    if (!this.operations.has(operation))
      throw new ContractError(`${this.name}: the driver has no ${operation}; ask \`operations\` first`);
  }
}

type Check = Pick<StateCheck, "allowed" | "forbidden" | "errno" | "reason"> & {
  readonly property: string;
  readonly when?: Readonly<Record<string, unknown>> | undefined;
};

function firstFailure(checks: readonly Check[], subject: OffloadState | OffloadPolicy): AddResult | null {
  const values = subject as unknown as Readonly<Record<string, string | number | boolean>>;
  for (const check of checks) {
    const asked = Object.entries(check.when ?? {}).every(([name, value]) => values[name] === value);
    if (!asked) continue;
    const value = values[check.property] as string | number | boolean;
    const holds = check.allowed ? check.allowed.includes(value) : !check.forbidden?.includes(value);
    if (!holds) return refusal(check);
  }
  return null;
}

/** @param answer profile.ts has checked that there is one */
function refusal(answer: Pick<StateCheck, "errno" | "reason"> | undefined): AddResult {
  return { errno: answer?.errno ?? "ENOSPC", extack: answer?.reason ?? "no space" };
}
