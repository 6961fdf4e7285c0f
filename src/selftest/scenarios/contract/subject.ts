import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Applied, Status } from "../../../backends/backend.js";
import type { BackendName, Policy } from "../../../config/policy.js";
import type { FeatureName } from "../../features.js";
import type { Namespace } from "../../namespace.js";
import { parsePolicyText, Steering, type SteeringOptions } from "../../steering/steering.js";

/** One ESP connection between the hub and a peer. */
export interface Branch {
  readonly name: string;
  /** The hub's. */
  readonly ifId: number;
  readonly hub: Namespace;
  readonly peer: Namespace;
  /** Outer addresses. */
  readonly outer: { readonly hub: string; readonly peer: string };
  /** Of the hub's SA; the peer's is the next one. */
  readonly spi: number;
  readonly subnets: readonly string[];
  /** Inner addresses of the peer. */
  readonly inner: readonly string[];
}

/** What the contract scenarios have to know of a backend to run against it. */
export interface Subject {
  readonly backend: BackendName;
  readonly needs: readonly FeatureName[];
  /** Of `link` besides. */
  readonly linkNeeds: readonly FeatureName[];
  /** False where its status has no traffic. */
  readonly counts: boolean;
  /** Makes the peer's end of a branch, and what the hub's needs beside its policy. */
  connect(branch: Branch, folder: string): Promise<void>;
  /** Makes a link pick the uplink v0INDEX of the hub, where that takes more than its name. */
  separateUplinks(branch: Branch, indexes: readonly number[]): Promise<void>;
  /** What the hub's policy says of a branch beside its if_id and subnets, as a YAML flow mapping's members. */
  esp(branch: Branch): string;
}

/** The hub and what steers it. */
export class Hub {
  readonly ns: Namespace;
  readonly folder = mkdtempSync(join(tmpdir(), "xfrm-steer-contract-"));
  readonly #steering: Steering;
  readonly #parsed = new Map<string, Policy>();

  constructor(ns: Namespace, options?: SteeringOptions) {
    this.ns = ns;
    this.#steering = new Steering(ns, options);
  }

  /** Applies a policy, as if its file were in the folder: the keys' paths begin there. */
  async apply(text: string): Promise<Applied> {
    const policy = this.#parsed.get(text) ?? parsePolicyText(text, join(this.folder, "steer.yaml"));
    this.#parsed.set(text, policy); // an emulated CPU takes a tenth of a second for the same text again
    return await this.#steering.apply(policy);
  }

  async status(): Promise<Status | null> {
    return await this.#steering.find();
  }

  /** @returns false where nothing was set up */
  async unload(): Promise<boolean> {
    return await this.#steering.unload();
  }

  /** Runs a scenario's body, and takes everything away after it whatever happened. */
  async use(body: () => Promise<void>): Promise<void> {
    try {
      await body();
    } finally {
      try {
        await this.unload();
      } finally {
        rmSync(this.folder, { recursive: true });
      }
    }
  }
}

/** The policy of a hub: its branches, then what else is said. */
export function policyOf(subject: Subject, branches: readonly Branch[], more: PolicyText = {}): string {
  const quoted = (prefixes: readonly string[]) => prefixes.map((prefix) => `"${prefix}"`).join(", ");
  const connections = branches.map((branch) => {
    const link = more.links?.[branch.name];
    const members = [
      `if_id: ${branch.ifId}`,
      `subnets: [${quoted(branch.subnets)}]`,
      ...(link === undefined ? [] : [`link: ${link}`]),
      ...(subject.esp(branch) === "" ? [] : [subject.esp(branch)]),
    ];
    return `  ${branch.name}: {${members.join(", ")}}`;
  });
  return `version: 1
backend: ${subject.backend}
interface: {name: ipsec0, ${more.device ?? "guard: false"}, addresses: [${quoted(more.addresses ?? ["10.0.0.1/32", "fd00::1/128"])}]}
connections:
${[...connections, ...(more.connections ?? [])].join("\n")}
${more.rules === undefined ? "" : `rules:\n${more.rules.map((rule) => `  - ${rule}`).join("\n")}`}
`;
}

export interface PolicyText {
  readonly addresses?: readonly string[];
  /** Underlay devices by connection. */
  readonly links?: Readonly<Record<string, string>>;
  /** Members of the interface's mapping; without them it has no guard, so that broad routes can be made after an apply. */
  readonly device?: string;
  /** Lines of further connections. */
  readonly connections?: readonly string[];
  /** Rules as YAML flow mappings. */
  readonly rules?: readonly string[];
}
