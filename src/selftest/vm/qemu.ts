import { readFileSync } from "node:fs";

/** What a machine is made of. Numbers without a unit in their name are counts. */
export interface Machine {
  vmlinuz: string;
  initrd?: string;
  accelerator: "kvm" | "tcg";
  cpus: number;
  memoryMb: number;
  /** TCG only: guest time counts executed instructions, one per ns; one CPU, and the same in every run. */
  instructionClock?: boolean;
  /** Appended to the kernel's command line. */
  kernelArguments?: readonly string[];
  /** File descriptor, open in QEMU, of the connected socket behind the guest's ttyS1. */
  dataFd?: number;
  /** Terminal signals (Ctrl-C) reach the guest as characters instead of ending QEMU. */
  interactive?: boolean;
}

/**
 * The time stamp counter's rate in kHz, from /proc/cpuinfo: the "@ 2.40GHz" of the model name, which is the rate
 * that a CPU with frequency scaling counts at, else the current clock.
 */
export function tscKhz(cpuinfo: string): number | undefined {
  const named = cpuinfo.match(/^model name.*@ ([\d.]+)GHz/m)?.[1];
  if (named) return Math.round(Number(named) * 1e6);
  const current = cpuinfo.match(/^cpu MHz\s*: ([\d.]+)/m)?.[1];
  return current ? Math.round(Number(current) * 1e3) : undefined;
}

/**
 * cx16: under TCG, QEMU 7.2 crashed in half of all boots with it. erms and fsrm: with them kernel and C library copy
 * and clear memory by `rep movsb`, which TCG does a byte at a time; the loops they take instead, eight or more.
 */
const EMULATED_CPU = "max,-cx16,-erms,-fsrm";

function accelerator(machine: Machine): string[] {
  if (machine.accelerator === "kvm") return ["-accel", "kvm", "-cpu", "max", "-smp", `${machine.cpus}`];
  if (!machine.instructionClock) {
    return ["-accel", "tcg,thread=multi", "-cpu", EMULATED_CPU, "-smp", `${machine.cpus}`];
  }
  return [
    ...["-accel", "tcg,thread=single", "-cpu", "max,-cx16", "-smp", "1"],
    ...["-icount", "shift=0,sleep=off", "-rtc", "clock=vm,base=2026-01-01T00:00:00"],
  ];
}

const ICOUNT_TSC_KHZ = 1_000_000;

/** The kernel's command line. */
export function kernelCommandLine(machine: Machine, khz: number | undefined): string {
  // Under -icount the TSC counts guest nanoseconds, whatever the host's does.
  const rate = machine.instructionClock ? ICOUNT_TSC_KHZ : khz;
  const clock =
    // microvm has no HPET or PIT to calibrate the TSC by: told nothing, rare boots hang silently.
    machine.accelerator === "tcg" && rate ? ["tsc=reliable", `tsc_early_khz=${rate}`] : [];
  return [
    ...["console=ttyS0", "quiet", "panic=-1", "mitigations=off", "nokaslr"],
    // Debian's kernels zero what they allocate and test their ciphers, which takes an emulated boot seconds; rep_good: as
    // erms. The bench measures them as they are.
    ...(machine.instructionClock ? [] : ["init_on_alloc=0", "cryptomgr.notests", "clearcpuid=rep_good"]),
    ...clock,
    ...(machine.kernelArguments ?? []),
  ].join(" ");
}

/**
 * QEMU's arguments: a microvm whose console (ttyS0) is QEMU's standard input and output. The data channel is a
 * second ISA serial port, whose driver every distribution's kernel has built in; virtio would need modules first.
 */
export function qemuArguments(
  machine: Machine,
  khz: number | undefined = tscKhz(readFileSync("/proc/cpuinfo", "utf8")),
): string[] {
  const signals = machine.interactive ? ",signal=off" : "";
  const args = [
    ...["-M", "microvm,acpi=on", ...accelerator(machine), "-m", `${machine.memoryMb}`],
    ...["-display", "none", "-nodefaults", "-no-user-config", "-no-reboot"],
    ...["-chardev", `stdio,id=console${signals}`, "-serial", "chardev:console"],
    ...["-kernel", machine.vmlinuz, "-append", kernelCommandLine(machine, khz)],
  ];
  if (machine.initrd) args.push("-initrd", machine.initrd);
  if (machine.dataFd !== undefined) {
    args.push("-chardev", `socket,id=data,fd=${machine.dataFd}`);
    args.push("-device", "isa-serial,chardev=data,iobase=0x2f8,irq=3");
  }
  return args;
}
