import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { Applied, Status } from "../../../backends/backend.js";
import { formatDiagnostic, parsePolicy } from "../../../config/index.js";
import type { BackendName } from "../../../config/policy.js";
import type { FeatureName } from "../../features.js";
import type { Namespace } from "../../namespace.js";
import { inNamespace } from "../../netns.js";
import type { Reply, Request } from "./driver.js";

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

const DRIVER = fileURLToPath(new URL("./driver.js", import.meta.url));

/** What a hub's namespace is steered by: a driver process in it. */
export class Hub {
  readonly ns: Namespace;
  readonly folder = mkdtempSync(join(tmpdir(), "xfrm-steer-contract-"));
  readonly #backend: BackendName;
  #driver: ChildProcess | null = null;

  constructor(ns: Namespace, subject: Subject) {
    this.ns = ns;
    this.#backend = subject.backend;
  }

  /** The process that serves requests now; one that was killed is replaced. */
  driver(): ChildProcess {
    if (this.#driver !== null && this.#driver.exitCode === null && this.#driver.signalCode === null)
      return this.#driver;
    this.#driver = inNamespace(this.ns.path, () =>
      spawn(process.execPath, [DRIVER, this.#backend], { stdio: ["ignore", "inherit", "inherit", "ipc"] }),
    );
    return this.#driver;
  }

  async #ask<T>(request: Request): Promise<T> {
    const driver = this.driver();
    const ended = new AbortController();
    const reply = once(driver, "message", { signal: ended.signal });
    const onExit = () =>
      ended.abort(new Error(`the driver ended by ${driver.signalCode ?? driver.exitCode}`));
    driver.once("exit", onExit);
    driver.send(request);
    try {
      const [answer] = (await reply) as [Reply];
      if ("error" in answer) throw new Error(answer.error);
      return answer.result as T;
    } finally {
      driver.off("exit", onExit);
    }
  }

  /** Applies a policy, as if its file were in the folder: the keys' paths begin there. */
  async apply(text: string): Promise<Applied> {
    const { policy, diagnostics } = parsePolicy(text, join(this.folder, "steer.yaml"));
    if (policy === null) throw new Error(diagnostics.map(formatDiagnostic).join("\n"));
    return await this.#ask({ operation: "apply", policy });
  }

  async status(): Promise<Status | null> {
    return await this.#ask({ operation: "status", name: "ipsec0" });
  }

  /** @returns false where nothing was set up */
  async unload(): Promise<boolean> {
    return await this.#ask({ operation: "unload", name: "ipsec0" });
  }

  /** Runs a scenario's body, and takes everything away after it whatever happened. */
  async use(body: () => Promise<void>): Promise<void> {
    try {
      await body();
    } finally {
      try {
        await this.unload();
      } finally {
        const driver = this.driver();
        const ended = once(driver, "exit");
        driver.kill("SIGKILL");
        await ended;
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
