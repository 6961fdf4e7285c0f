import type { ChildProcess } from "node:child_process";
import { open } from "node:fs/promises";
import { join } from "node:path";
import type { Readable } from "node:stream";
import { inPrivateFolder } from "../../sys/private-folder.js";
import { defaultCpus, kvmRuns } from "./accelerator.js";
import { DataChannel } from "./data-channel.js";
import { VmError, type VmErrorKind } from "./errors.js";
import { GUEST_ROOT, guestInit, guestMain, INIT_REACHED } from "./guest-init.js";
import { baseArchive, projectEntries, writeInitramfs } from "./initramfs.js";
import type { Kernel } from "./kernel.js";
import { type CpioEntry, file, readNewc } from "./newc.js";
import { endProcess, NOT_FOUND_STATUS, startQemu } from "./process.js";
import { qemuArguments } from "./qemu.js";

export interface VmRun {
  kernel: Kernel;
  /** Run in the project's root in the guest; its standard output is `onOutput`'s, its errors the console's. */
  command: readonly string[];
  env?: Readonly<Record<string, string>>;
  /** Further files, by their path in the guest without a leading slash. */
  files?: readonly CpioEntry[];
  /** Default {@link defaultCpus}. */
  cpus?: number;
  /** Default 1024. */
  memoryMb?: number;
  /** Guest time counts instructions: deterministic, one CPU, TCG (see {@link Machine}). */
  instructionClock?: boolean;
  /** Ends the VM after so long in all; default 1 800 000 ms. */
  limitMs?: number;
  /** Ends the VM after so long without a sign of life once it is up; default 180 000 ms. */
  silenceMs?: number;
  /** Boots again a VM that is not up after so long; default 120 000 ms. */
  bootMs?: number;
  /** What shows that it is up: its init (the default), or the command's first output where that comes at once. */
  up?: "init" | "output";
  onOutput?: (chunk: Buffer) => void;
}

export interface VmResult {
  /** The command's exit status, as the guest's shell tells it (128 + n for signal n). */
  status: number;
  /** What the command left in the directory $XFRM_STEER_OUT, by path. */
  files: Map<string, Buffer>;
  /** The guest's dmesg. */
  kernelLog: string;
  console: string;
  accelerator: "kvm" | "tcg";
  /** How often it was booted until it was up. */
  boots: number;
}

/** Emulated kernels hang rarely, and silently, while they boot: one that does is booted again. */
const MAX_BOOTS = 3;
const CONSOLE_TAIL_LINES = 25;
const CONSOLE_KEPT_CHARACTERS = 1 << 20;
/** A guest that has sent all of its files has this long to power off. */
const POWER_OFF_MS = 5_000;

/**
 * Boots a kernel, runs one command in it and powers off.
 * @throws VmError "unavailable" when no VM can be had; others (see VmErrorKind) with the console's last lines. QEMU
 * is gone when this returns or throws, and ends with this process in any other case.
 */
export async function runVm(run: VmRun): Promise<VmResult> {
  const accelerator = !run.instructionClock && (await kvmRuns(run.kernel.vmlinuz)) ? "kvm" : "tcg";
  for (let boots = 1; ; boots++) {
    try {
      const ended = await watchVm(await start(run, accelerator), run);
      return { ...result(ended), accelerator, boots };
    } catch (error) {
      if (boots === MAX_BOOTS || !(error instanceof VmError) || error.kind !== "boot") throw error;
    }
  }
}

async function start(run: VmRun, accelerator: "kvm" | "tcg"): Promise<ChildProcess> {
  const initrd = await openInitramfs(run.kernel, [
    file("init", guestInit("run"), 0o755),
    file("main", guestMain(run.command, run.env)),
    ...(run.files ?? []),
  ]);
  try {
    const args = qemuArguments({
      vmlinuz: run.kernel.vmlinuz,
      initrd: "/proc/self/fd/3",
      accelerator,
      cpus: run.cpus ?? defaultCpus(accelerator),
      memoryMb: run.memoryMb ?? 1024,
      instructionClock: run.instructionClock ?? false,
      dataFd: 4,
    });
    return await startQemu(args, ["ignore", "pipe", "pipe", initrd.fd, "pipe"]);
  } finally {
    await initrd.close();
  }
}

interface Ended {
  entries: CpioEntry[];
  console: string;
}

/** @throws VmError "crash" where the files do not tell how the command ended */
export function result(ended: Ended): Omit<VmResult, "accelerator" | "boots"> {
  const files = new Map(ended.entries.map((entry) => [entry.path, entry.data]));
  const take = (name: string) => {
    const text = files.get(name)?.toString("utf8") ?? "";
    files.delete(name);
    return text;
  };
  const status = take("status").trim();
  if (!/^\d+$/.test(status))
    throw new VmError("crash", withTail("the VM did not tell its command's exit status", ended.console), {
      console: ended.console,
    });
  return {
    status: Number(status),
    kernelLog: take("kernel.log"),
    files,
    console: ended.console,
  };
}

/** The initramfs as an open file without a name: there is nothing to clean up, however we end. */
export async function openInitramfs(kernel: Kernel, entries: readonly CpioEntry[]) {
  return await inPrivateFolder("xfrm-steer-vm-", async (folder) => {
    const path = join(folder, "initramfs");
    await writeInitramfs(path, await baseArchive(kernel), [...(await projectEntries()), ...entries]);
    return await open(path, "r");
  });
}

/**
 * Follows a started VM to its end: stdout and stderr are its console, fd 4 its data channel.
 * @throws VmError "boot", "hang", "limit" or "crash"; the process has ended in every case.
 */
export async function watchVm(
  child: ChildProcess,
  limits: Pick<VmRun, "limitMs" | "silenceMs" | "bootMs" | "up" | "onOutput">,
): Promise<Ended> {
  const { limitMs = 1_800_000, silenceMs = 180_000, bootMs = 120_000, up = "init" } = limits;
  let consoleText = "";
  let stopped: { kind: VmErrorKind; why: string } | undefined;
  const stop = (kind: VmErrorKind, why: string) => {
    stopped ??= { kind, why };
    child.kill("SIGKILL");
  };
  const limit = setTimeout(stop, limitMs, "limit", `did not end within ${limitMs / 1000} s`);
  const firstSign = up === "init" ? "reach its init" : "begin with its command";
  const boot = setTimeout(stop, bootMs, "boot", `did not ${firstSign} within ${bootMs / 1000} s`);
  let silence: NodeJS.Timeout | undefined;
  let powerOff: NodeJS.Timeout | undefined;
  /** While it boots, only the boot's limit counts. */
  const heard = (isUp: boolean) => {
    if (silence) silence.refresh();
    else if (isUp) {
      clearTimeout(boot);
      silence = setTimeout(stop, silenceMs, "hang", `said nothing for ${silenceMs / 1000} s`);
    }
  };
  const channel = new DataChannel((chunk) => limits.onOutput?.(chunk));
  try {
    const onConsole = (chunk: Buffer) => {
      consoleText = (consoleText + chunk.toString("utf8")).slice(-CONSOLE_KEPT_CHARACTERS);
      heard(up === "init" && consoleText.includes(INIT_REACHED));
    };
    child.stdout?.on("data", onConsole);
    child.stderr?.on("data", onConsole);
    (child.stdio[4] as Readable).on("data", (chunk: Buffer) => {
      heard(true);
      channel.push(chunk);
      if (!powerOff && channel.archive()?.includes("TRAILER!!!")) {
        powerOff = setTimeout(() => child.kill("SIGKILL"), POWER_OFF_MS);
      }
    });
    await new Promise((resolve) => child.once("close", resolve));
  } finally {
    clearTimeout(limit);
    clearTimeout(silence);
    clearTimeout(boot);
    clearTimeout(powerOff);
    await endProcess(child);
  }
  if (child.exitCode === NOT_FOUND_STATUS) {
    throw new VmError("unavailable", "starting QEMU: it is not installed; install qemu-system-x86");
  }
  if (stopped) {
    throw new VmError(stopped.kind, withTail(`the VM ${stopped.why}`, consoleText), { console: consoleText });
  }
  return { entries: unpack(channel.archive(), child, consoleText), console: consoleText };
}

function unpack(archive: Buffer | undefined, child: ChildProcess, consoleText: string): CpioEntry[] {
  try {
    if (!archive) throw new RangeError("no files came");
    return readNewc(archive);
  } catch (cause) {
    const how = child.signalCode ? `by ${child.signalCode}` : `with status ${child.exitCode}`;
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new VmError("crash", withTail(`the VM ended ${how} before its command did (${why})`, consoleText), {
      cause,
      console: consoleText,
    });
  }
}

function withTail(message: string, consoleText: string): string {
  const lines = consoleText.trimEnd().split(/\r?\n/);
  const tail = lines.slice(-CONSOLE_TAIL_LINES);
  if (!consoleText.trim()) return `${message}; its console is empty`;
  const omitted = lines.length > tail.length ? ` (${lines.length - tail.length} lines omitted)` : "";
  return `${message}; the end of its console${omitted}:\n${tail.map((line) => `  ${line}`).join("\n")}`;
}

/** A project path in the guest, absolute. */
export function guestPath(relative: string): string {
  return `/${GUEST_ROOT}/${relative}`;
}
