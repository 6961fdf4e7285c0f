/** A small model of the offload contract: what the simulated devices and the stack over them are held against. */
import type { FeatureName, OffloadState } from "../../src/esp/offload/contract.js";
import type { FaultName } from "../../src/simulator/faults.js";

/** A port's limits, in the model's own words. */
export interface Limits {
  /** Slots of each direction, or of both together. */
  readonly slots: { readonly in: number; readonly out: number } | { readonly shared: number };
  readonly addresses: number;
  /** Whether a slot is free only when the SA is freed. */
  readonly freesLate: boolean;
  readonly packetMode: boolean;
  readonly esn: boolean;
  readonly modes: readonly string[];
  readonly suites: readonly string[];
  readonly features: readonly FeatureName[];
}

export interface ModelSa {
  readonly state: OffloadState;
  /** The port that has it. */
  port: number | null;
  deleted: boolean;
  freed: boolean;
  esnHigh: number;
  hardware: number;
  software: number;
  drops: number;
  bursts: number;
}

/** What the stack does about a packet: who does its crypto, or the counter under which it is dropped. */
export type Fate = "hardware" | "software" | { readonly drop: string };

export class Model {
  readonly ports: readonly Limits[];
  readonly sas: ModelSa[] = [];
  readonly features: Set<FeatureName>;
  up = true;
  fault: FaultName | null = null;
  #active = 0;

  constructor(ports: readonly Limits[]) {
    this.ports = ports;
    this.features = new Set(this.#port.features);
  }

  get bonded(): boolean {
    return this.ports.length > 1;
  }

  /** SAs that are not deleted. */
  get installed(): ModelSa[] {
    return this.sas.filter(({ deleted }) => !deleted);
  }

  /** One for each SA and one for its policy, until they are freed. */
  get references(): number {
    return this.sas.reduce((sum, { freed, state }) => sum + (freed ? 0 : state.type === "packet" ? 2 : 1), 0);
  }

  /** Policies go as the SA is deleted. */
  get policies(): number {
    return this.installed.filter(({ state }) => state.type === "packet").length;
  }

  /** @returns "offloaded", "software" or the errno */
  add(state: OffloadState): string {
    const { esn, packetMode } = this.#port;
    if (!this.up) return "EINVAL";
    const packet = state.type === "packet";
    if (packet ? this.bonded || !packetMode || state.reqid === 0 : state.esn && !esn) return "EINVAL";
    const answer = this.#place(state);
    if (answer === "EOPNOTSUPP" && !packet) return "software";
    if (answer !== "offloaded") return answer;
    const port = this.#active;
    const counts = { esnHigh: 0, hardware: 0, software: 0, drops: 0, bursts: 0 };
    this.sas.push({ state, port, deleted: false, freed: false, ...counts });
    return answer;
  }

  delete(sa: ModelSa): void {
    sa.deleted = true;
    if (!this.#port.freesLate) sa.port = null;
  }

  free(sa: ModelSa): void {
    sa.freed = true;
    sa.port = null;
  }

  down(): void {
    this.up = false;
    for (const sa of this.installed) {
      this.delete(sa);
      this.free(sa);
    }
  }

  /** @returns whether the kernel takes the change */
  toggle(feature: FeatureName): boolean {
    const on = !this.features.has(feature);
    if (feature === "esp-hw-offload" && !on && this.features.has("esp-tx-csum-hw-offload")) return false;
    if (feature === "esp-tx-csum-hw-offload" && on && !this.features.has("esp-hw-offload")) return false;
    if (on) this.features.add(feature);
    else this.features.delete(feature);
    return true;
  }

  failover(): void {
    for (const sa of this.sas) sa.port = null;
    this.#active = 1 - this.#active;
    for (const sa of this.installed) if (this.#place(sa.state) === "offloaded") sa.port = this.#active;
    this.features.clear();
    for (const feature of this.#port.features) this.features.add(feature);
  }

  /** A packet without options. @param wraps whether the sequence number's lower half wraps within its burst */
  send(sa: ModelSa, rerouted: boolean, wraps: boolean): Fate {
    if (sa.deleted || !this.up) return { drop: "XfrmOutNoStates" };
    const served = sa.port === this.#active && !rerouted;
    if (sa.state.type === "packet") return served ? "hardware" : { drop: "XfrmOutError" };
    return served && !wraps && this.features.has("esp-hw-offload") ? "hardware" : "software";
  }

  /** Whether the device cuts a GSO packet that it encrypts. */
  cuts(sa: ModelSa, wraps: boolean): boolean {
    return this.features.has("tx-esp-segmentation") && (sa.state.type === "packet" || !wraps);
  }

  receive(sa: ModelSa, fault: FaultName | null): Fate {
    if (sa.deleted || !this.up) return { drop: "XfrmInNoStates" };
    if (sa.port !== this.#active || fault === "lookup-miss") return "software";
    if (fault === null) return "hardware";
    if (fault === "stale-secpath") return { drop: "XfrmInStateInvalid" };
    const authentic = !fault.includes("auth-failed") && fault !== "status-invalid-protocol";
    return { drop: authentic ? "XfrmInBufferError" : "XfrmInStateProtoError" };
  }

  /** Slots in use of each port. */
  used(port: number): { in: number; out: number; addresses: number } {
    const there = this.sas.filter((sa) => sa.port === port);
    const inbound = there.filter(({ state }) => state.direction === "in");
    const { slots, addresses } = this.ports[port] as Limits;
    const shared = "shared" in slots;
    return {
      in: shared ? there.length : inbound.length,
      out: shared ? there.length : there.length - inbound.length,
      addresses: addresses === 0 ? 0 : new Set(inbound.map(({ state }) => state.destination)).size,
    };
  }

  get #port(): Limits {
    return this.ports[this.#active] as Limits;
  }

  /** What the driver of the active port answers. */
  #place({ direction, mode, suite, destination }: OffloadState): string {
    if (this.fault === "add-eopnotsupp") return "EOPNOTSUPP";
    if (this.fault === "add-einval") return "EINVAL";
    const { slots, modes, suites, addresses } = this.#port;
    const used = this.used(this.#active);
    if (!modes.includes(mode)) return "EINVAL";
    const size = "shared" in slots ? slots.shared : slots[direction];
    if (used[direction] >= size || this.fault === "table-full") return "ENOSPC";
    if (!suites.includes(suite)) return "EINVAL";
    const known = this.sas.some(
      ({ port, state }) =>
        port === this.#active && state.direction === "in" && state.destination === destination,
    );
    if (direction === "in" && addresses > 0 && !known && used.addresses >= addresses) return "ENOSPC";
    return "offloaded";
  }
}
