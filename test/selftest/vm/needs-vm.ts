import test, { type ImplementationFn } from "ava";
import { DEFAULT_KERNEL, findKernel, VmError } from "../../../src/selftest/index.js";
import { baseArchive } from "../../../src/selftest/vm/initramfs.js";
import { endProcess, NOT_FOUND_STATUS, startQemu } from "../../../src/selftest/vm/process.js";

/** Why no VM can be had here, in one sentence; null where one can. */
async function whyNoVm(kernel: string): Promise<string | null> {
  try {
    await baseArchive(await findKernel(kernel));
    const qemu = await startQemu(["--version"], "ignore");
    await new Promise((resolve) => qemu.once("exit", resolve));
    await endProcess(qemu);
    return qemu.exitCode === NOT_FOUND_STATUS ? "QEMU is not installed; install qemu-system-x86" : null;
  } catch (error) {
    if (error instanceof VmError && error.kind === "unavailable") return error.message;
    throw error;
  }
}

const lacking = process.env.CI ? null : await whyNoVm(DEFAULT_KERNEL);

/**
 * A serial test that boots a VM; its title says why where it is skipped. CI has QEMU and a mirror: there it runs, and
 * fails where they are lacking.
 */
export function vmTest(title: string, run: ImplementationFn<[]>): void {
  if (lacking === null) test.serial(title, run);
  else test.serial.skip(`${title} (no VM: ${lacking.replaceAll(/\s+/g, " ")})`, run);
}
