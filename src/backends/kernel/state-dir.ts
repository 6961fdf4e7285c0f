import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { deserialize, serialize } from "node:v8";
import type { BackendName, Policy } from "../../config/policy.js";
import { runtimeDir } from "../../sys/runtime-dir.js";

/**
 * What a kernel backend keeps of an interface beside the kernel's own objects: a folder of files below the
 * runtime folder of the network namespace, gone with a reboot as they are. Each file is written whole or not at all.
 */
export class StateDir<S> {
  readonly #path: string;

  constructor(interfaceName: string, backend: BackendName) {
    this.#path = join(runtimeDir(), `${interfaceName}.${backend}`);
  }

  read(): S | null {
    return readJson<S>(join(this.#path, STATE));
  }

  write(state: S): void {
    this.#write(STATE, state);
  }

  /** Keeps the policy of a generation, for follow() and plan. */
  writePolicy(generation: number, policy: Policy): void {
    this.#writeBytes(policyFile(generation), serialize(policy));
  }

  readPolicy(generation: number): Policy | null {
    const path = join(this.#path, policyFile(generation));
    return existsSync(path) ? (deserialize(readFileSync(path)) as Policy) : null;
  }

  /** Removes the policies of all generations but these. */
  keepPolicies(generations: readonly number[]): void {
    const keep = new Set([STATE, ...generations.map(policyFile)]);
    for (const name of readdirSync(this.#path)) if (!keep.has(name)) rmSync(join(this.#path, name));
  }

  remove(): void {
    rmSync(this.#path, { recursive: true, force: true });
  }

  #write(name: string, value: unknown): void {
    this.#writeBytes(name, JSON.stringify(value));
  }

  #writeBytes(name: string, content: string | Uint8Array): void {
    mkdirSync(this.#path, { recursive: true, mode: 0o700 });
    const path = join(this.#path, name);
    writeFileSync(`${path}.new`, content, { mode: 0o600 });
    renameSync(`${path}.new`, path);
  }
}

const STATE = "state.json";

/** Raised when Policy changes its shape: what another version kept is not there for this one. */
const POLICY_FORMAT = 2;
const policyFile = (generation: number) => `policy-${generation}.v${POLICY_FORMAT}`;

function readJson<T>(path: string): T | null {
  return existsSync(path) ? (JSON.parse(readFileSync(path, "utf8")) as T) : null;
}

/** Interfaces of this network namespace of which a backend keeps state. */
export function keptInterfaces(backend: BackendName): string[] {
  if (!existsSync(runtimeDir())) return [];
  const suffix = `.${backend}`;
  return readdirSync(runtimeDir())
    .filter((name) => name.endsWith(suffix))
    .map((name) => name.slice(0, -suffix.length));
}
