import test from "ava";
import { guestMain, shellWords } from "../../../src/selftest/vm/guest-init.js";
import { kernelCommandLine, type Machine, qemuArguments, tscKhz } from "../../../src/selftest/vm/qemu.js";

const TCG: Machine = { vmlinuz: "/boot/vmlinuz", accelerator: "tcg", cpus: 2, memoryMb: 1024 };

/** The value behind an option. */
const option = (args: string[], name: string) => args[args.indexOf(name) + 1];

test("under TCG the CPU has no cx16, with which QEMU 7.2 crashes", (t) => {
  t.regex(option(qemuArguments(TCG, 1), "-cpu") ?? "", /^max,-cx16\b/);
  t.is(option(qemuArguments({ ...TCG, instructionClock: true }, 1), "-cpu"), "max,-cx16");
});

test("under TCG nothing is copied a byte at a time, but where instructions are counted", (t) => {
  t.regex(option(qemuArguments(TCG, 1), "-cpu") ?? "", /,-erms,-fsrm$/);
  t.regex(kernelCommandLine(TCG, 1), / clearcpuid=rep_good/);
  t.notRegex(kernelCommandLine({ ...TCG, instructionClock: true }, 1), /clearcpuid/);
});

test("under TCG the kernel is told the TSC's rate, without which microvm boots hang", (t) => {
  const line = kernelCommandLine(TCG, 2_445_430).split(" ");
  t.true(line.includes("tsc=reliable") && line.includes("tsc_early_khz=2445430"));
});

test("under KVM the kernel finds the rate by itself", (t) => {
  t.false(kernelCommandLine({ ...TCG, accelerator: "kvm" }, 2_445_430).includes("tsc"));
});

test("the instruction clock is one CPU, one thread, a fixed date", (t) => {
  const args = qemuArguments({ ...TCG, instructionClock: true }, 1);
  t.is(option(args, "-smp"), "1");
  t.is(option(args, "-accel"), "tcg,thread=single");
  t.is(option(args, "-icount"), "shift=0,sleep=off");
  t.regex(option(args, "-rtc") ?? "", /^clock=vm,base=/);
  t.regex(option(args, "-append") ?? "", /tsc_early_khz=1000000( |$)/);
});

test("the data channel is the second serial port, on the given descriptor", (t) => {
  const args = qemuArguments({ ...TCG, dataFd: 4 }, 1);
  t.true(args.includes("socket,id=data,fd=4"));
  t.true(args.includes("isa-serial,chardev=data,iobase=0x2f8,irq=3"));
  t.false(qemuArguments(TCG, 1).includes("-device"));
});

test("only an interactive machine takes Ctrl-C as a character", (t) => {
  t.is(option(qemuArguments({ ...TCG, interactive: true }, 1), "-chardev"), "stdio,id=console,signal=off");
  t.is(option(qemuArguments(TCG, 1), "-chardev"), "stdio,id=console");
});

const rates: { name: string; cpuinfo: string; expected: number | undefined }[] = [
  {
    name: "the rate in the model's name, whatever the clock is now",
    cpuinfo: "model name\t: Intel(R) Xeon(R) CPU @ 2.20GHz\ncpu MHz\t\t: 800.000\n",
    expected: 2_200_000,
  },
  {
    name: "else the current clock",
    cpuinfo: "model name\t: AMD EPYC\ncpu MHz\t\t: 2445.430\n",
    expected: 2_445_430,
  },
  { name: "nothing where neither is told", cpuinfo: "processor\t: 0\n", expected: undefined },
];
for (const { name, cpuinfo, expected } of rates) test(`tsc: ${name}`, (t) => t.is(tscKhz(cpuinfo), expected));

test("quotes a command for the guest's shell", (t) => {
  t.is(shellWords(["node", "-e", "print('a b')"]), `'node' '-e' 'print('\\''a b'\\'')'`);
  t.is(guestMain(["ip", "link"], { A: "1 2" }), "cd /xfrm-steer\nexport A='1 2'\nexec 'ip' 'link'\n");
});
