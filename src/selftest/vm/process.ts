import { type ChildProcess, type StdioOptions, spawn } from "node:child_process";
import { once } from "node:events";
import { VmError } from "./errors.js";

/**
 * Starts QEMU so that it cannot outlive us: setpriv (util-linux) has the kernel kill it when the thread that
 * started it ends, in whatever way (PR_SET_PDEATHSIG, prctl(2)). setpriv becomes QEMU: same process id.
 * @throws VmError "unavailable" when QEMU is not installed.
 */
export async function startQemu(
  args: readonly string[],
  stdio: StdioOptions,
  qemu = "qemu-system-x86_64",
): Promise<ChildProcess> {
  const child = spawn("setpriv", ["--pdeathsig", "KILL", qemu, ...args], { stdio });
  try {
    await once(child, "spawn");
  } catch (cause) {
    throw new VmError("unavailable", "starting QEMU: no setpriv here; install util-linux", { cause });
  }
  return child;
}

/** setpriv's status when it cannot find the program (as a shell's). */
export const NOT_FOUND_STATUS = 127;

/** Kills the process, by its id, and waits until it is gone. */
export async function endProcess(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const gone = once(child, "exit");
  child.kill("SIGKILL");
  await gone;
}
