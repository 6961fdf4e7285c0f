import { accessSync, constants } from "node:fs";
import { endProcess, startQemu } from "./process.js";
import { qemuArguments } from "./qemu.js";

const PROBE_MS = 3_000;
const probed = new Map<string, Promise<boolean>>();

/**
 * Does KVM run this kernel? A cloud VM may have a /dev/kvm that stops at the first instruction it cannot emulate,
 * so the kernel is booted without an initramfs: where it comes as far as to panic for want of one, KVM works.
 * Asked once per process and kernel; takes a second where KVM works and at most three where it does not.
 */
export function kvmRuns(vmlinuz: string): Promise<boolean> {
  let answer = probed.get(vmlinuz);
  if (!answer) {
    answer = probe(vmlinuz);
    probed.set(vmlinuz, answer);
  }
  return answer;
}

/**
 * How many CPUs a guest has where nobody says: one under TCG. With two, one boot in a dozen ended in an oops at an
 * int3 that the kernel had patched away again on the other CPU (QEMU 7.2); scenarios run one step at a time, and
 * take hardly longer on one.
 */
export function defaultCpus(accelerator: "kvm" | "tcg"): number {
  return accelerator === "kvm" ? 2 : 1;
}

async function probe(vmlinuz: string): Promise<boolean> {
  try {
    accessSync("/dev/kvm", constants.R_OK | constants.W_OK);
  } catch {
    return false;
  }
  const args = qemuArguments({ vmlinuz, accelerator: "kvm", cpus: 1, memoryMb: 256 });
  const child = await startQemu(args, ["ignore", "pipe", "pipe"]);
  const works = await new Promise<boolean>((resolve) => {
    const timer = setTimeout(() => resolve(false), PROBE_MS);
    const settle = (value: boolean) => {
      clearTimeout(timer);
      resolve(value);
    };
    let said = "";
    const listen = (chunk: Buffer) => {
      said += chunk.toString("latin1");
      if (said.includes("Kernel panic")) settle(true);
      if (said.includes("KVM internal error")) settle(false);
    };
    child.stdout?.on("data", listen);
    child.stderr?.on("data", listen);
    child.once("close", () => settle(said.includes("Kernel panic")));
  });
  await endProcess(child);
  return works;
}
