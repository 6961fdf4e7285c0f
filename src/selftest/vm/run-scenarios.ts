import { mkdir, readFile, writeFile } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { packageRoot } from "../../sys/paths.js";
import type { Scenario } from "../scenario.js";
import { guestPath, runVm, type VmResult } from "./boot.js";
import { VmError } from "./errors.js";
import { GUEST_OUT, GUEST_ROOT } from "./guest-init.js";
import type { GuestPlan } from "./guest-plan.js";
import type { Kernel } from "./kernel.js";
import { secondLibbpf } from "./libbpf.js";
import { type CpioEntry, file } from "./newc.js";
import { packageEntries } from "./packages.js";

export interface VmScenarioOptions {
  kernel: Kernel;
  scenarios: readonly Scenario[];
  /** The files that the scenarios came from; none for the built-in ones. */
  files: readonly string[];
  write: (text: string) => void;
  /** A directory for the guest's kernel log, its console and the captures of failed scenarios. */
  captures?: string | undefined;
  limitMs?: number | undefined;
}

/** The caller's XFRM_STEER_... variables: some scenarios do as much as one of them says. */
function settings(): Record<string, string> {
  return Object.fromEntries(
    Object.entries(process.env).flatMap(([name, value]) =>
      name.startsWith("XFRM_STEER_") && value !== undefined ? [[name, value]] : [],
    ),
  );
}

/** A file beside others of the same name must keep its own; its folder in the guest is its number. */
const guestFile = (path: string, index: number) => `scenarios/${index}/${basename(path)}`;

/**
 * Boots a kernel and runs scenarios in it, with their KTAP passed on as it comes.
 * @throws VmError as {@link runVm}.
 */
export async function runScenariosInVm(options: VmScenarioOptions): Promise<VmResult> {
  const plan: GuestPlan = {
    files: options.files.map((path, index) => guestPath(guestFile(path, index))),
    names: options.scenarios.map(({ name }) => name),
    captures: join(GUEST_OUT, "captures"),
  };
  const entries: CpioEntry[] = [file(`${GUEST_ROOT}/plan.json`, JSON.stringify(plan))];
  for (const [index, path] of options.files.entries()) {
    entries.push(file(`${GUEST_ROOT}/${guestFile(path, index)}`, await readFile(path)));
  }
  if (options.files.some((path) => /\.[cm]?ts$/.test(path))) {
    entries.push(...(await packageEntries(["tsx"], packageRoot, GUEST_ROOT)));
  }
  if (options.scenarios.some(({ needs }) => needs?.includes("second-libbpf"))) {
    entries.push(...(await secondLibbpf()));
  }
  const run = runVm({
    kernel: options.kernel,
    command: ["node", guestPath("dist/src/selftest/vm/guest/main.js"), guestPath("plan.json")],
    files: entries,
    up: "output",
    env: settings(),
    onOutput: (chunk) => options.write(chunk.toString("utf8")),
    ...(options.limitMs === undefined ? {} : { limitMs: options.limitMs }),
  });
  const directory = options.captures;
  if (directory === undefined) return run;
  try {
    const result = await run;
    const logs = [["kernel.log", result.kernelLog] as const, ["console.log", result.console] as const];
    await keep([...result.files, ...logs], directory);
    return result;
  } catch (error) {
    if (error instanceof VmError && error.console) await keep([["console.log", error.console]], directory);
    throw error;
  }
}

async function keep(
  files: readonly (readonly [string, Buffer | string])[],
  directory: string,
): Promise<void> {
  for (const [name, data] of files) {
    const path = join(directory, name.replace(/^captures\//, ""));
    await mkdir(dirname(path), { recursive: true });
    await writeFile(path, data);
  }
}
