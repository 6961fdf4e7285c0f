/** Network namespaces of the tests' own, removed with the test. */
import { execFileSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import type { ExecutionContext } from "ava";

/** Why this machine cannot run tests in network namespaces, or null when it can. */
export function whyNoNamespaces(): string | null {
  return process.getuid?.() === 0 ? null : "needs root for network namespaces";
}

export function ip(...args: string[]): string {
  return execFileSync("ip", args, { encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] });
}

/** @returns the name of a new namespace with its loopback up */
export function makeNamespace(t: ExecutionContext): string {
  // Test files share a process, so its id would not tell them apart.
  const name = `xs-${randomBytes(4).toString("hex")}`;
  ip("netns", "add", name);
  t.teardown(() => ip("netns", "del", name));
  ip("-n", name, "link", "set", "lo", "up");
  return name;
}
