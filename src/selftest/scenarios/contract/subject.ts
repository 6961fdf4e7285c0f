import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { Applied, Status } from "../../../backends/backend.js";
import type { BackendName } from "../../../config/policy.js";
import type { FeatureName } from "../../features.js";
import type { Namespace } from "../../namespace.js";

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
  /** False where its status has no traffic. */
  readonly counts: boolean;
  /** Makes the peer's end of a branch, and what the hub's needs beside its policy. */
  connect(branch: Branch, folder: string): Promise<void>;
  /** What the hub's policy says of a branch beside its if_id and subnets, as a YAML flow mapping's members. */
  esp(branch: Branch): string;
}

const CLI = fileURLToPath(new URL("../../../../../bin/xfrm-steer.js", import.meta.url));

/** The command line in a hub's namespace. */
export class Hub {
  readonly ns: Namespace;
  readonly folder = mkdtempSync(join(tmpdir(), "xfrm-steer-contract-"));

  constructor(ns: Namespace) {
    this.ns = ns;
  }

  /** Runs a command with --json. @throws Error with its words where it fails */
  async command<T>(...args: string[]): Promise<T> {
    const { status, stdout, stderr } = await this.ns.exec(process.execPath, CLI, ...args, "--json");
    if (status !== 0) throw new Error(`xfrm-steer ${args.join(" ")}: exit ${status}: ${stderr}`);
    return JSON.parse(stdout) as T;
  }

  /** Applies a policy, with its place in the file system as the keys' paths need it. */
  async apply(policy: string): Promise<Applied> {
    return await this.command("apply", this.write(policy));
  }

  write(policy: string): string {
    const file = join(this.folder, "steer.yaml");
    writeFileSync(file, policy);
    return file;
  }

  async status(): Promise<Status> {
    const [status] = await this.command<Status[]>("status", "ipsec0");
    return status as Status;
  }

  async unload(): Promise<string[]> {
    return (await this.command<{ removed: string[] }>("unload")).removed;
  }

  /** Runs a scenario's body, and unloads after it whatever happened. */
  async use(body: () => Promise<void>): Promise<void> {
    try {
      await body();
    } finally {
      await this.unload();
      rmSync(this.folder, { recursive: true });
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
interface: {name: ipsec0, addresses: [${quoted(more.addresses ?? ["10.0.0.1/32", "fd00::1/128"])}]}
connections:
${[...connections, ...(more.connections ?? [])].join("\n")}
${more.rules === undefined ? "" : `rules:\n${more.rules.map((rule) => `  - ${rule}`).join("\n")}`}
`;
}

export interface PolicyText {
  readonly addresses?: readonly string[];
  /** Underlay devices by connection. */
  readonly links?: Readonly<Record<string, string>>;
  /** Lines of further connections. */
  readonly connections?: readonly string[];
  /** Rules as YAML flow mappings. */
  readonly rules?: readonly string[];
}
