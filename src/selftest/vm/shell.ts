import { once } from "node:events";
import { defaultCpus, kvmRuns } from "./accelerator.js";
import { openInitramfs } from "./boot.js";
import { VmError } from "./errors.js";
import { guestInit } from "./guest-init.js";
import { findKernel, type KernelOptions } from "./kernel.js";
import { file } from "./newc.js";
import { NOT_FOUND_STATUS, startQemu } from "./process.js";
import { qemuArguments } from "./qemu.js";

export interface VmShellOptions extends KernelOptions {
  /** As for {@link findKernel}. */
  kernel: string;
  cpus?: number;
  memoryMb?: number;
}

/**
 * A shell in a VM on the terminal (or whatever standard input and output are), in the project's root. Leaving the
 * shell powers the VM off.
 * @returns QEMU's exit status.
 * @throws VmError "unavailable".
 */
export async function vmShell(options: VmShellOptions): Promise<number> {
  const kernel = await findKernel(options.kernel, options);
  const accelerator = (await kvmRuns(kernel.vmlinuz)) ? "kvm" : "tcg";
  const initrd = await openInitramfs(kernel, [file("init", guestInit("shell"), 0o755)]);
  const { columns, rows } = process.stdout;
  const args = qemuArguments({
    vmlinuz: kernel.vmlinuz,
    initrd: "/proc/self/fd/3",
    accelerator,
    cpus: options.cpus ?? defaultCpus(accelerator),
    memoryMb: options.memoryMb ?? 1024,
    interactive: true,
    // A serial line knows no window size; init passes these on to the shell as they are.
    kernelArguments: columns ? [`COLUMNS=${columns}`, `LINES=${rows}`] : [],
  });
  try {
    const child = await startQemu(args, ["inherit", "inherit", "inherit", initrd.fd]);
    const [status] = (await once(child, "exit")) as [number | null];
    if (status === NOT_FOUND_STATUS) {
      throw new VmError("unavailable", "starting QEMU: it is not installed; install qemu-system-x86");
    }
    return status ?? 1;
  } finally {
    await initrd.close();
  }
}
