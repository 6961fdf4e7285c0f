import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { BpfError } from "libbpf-ts";
import { install, ObjectCache, PrivateCache, parseDependencies } from "./cache.js";
import { type Clang, findClang } from "./clang.js";
import { CompileError, type Diagnostic, parseDiagnostics } from "./diagnostics.js";
import { inTemporaryFolder } from "./private-folder.js";

export interface CompileOptions {
  /** Where the object goes. */
  output: string;
  /** Folders for #include, first match wins. */
  includes?: readonly string[];
  /** Macros; true defines without a value. */
  defines?: Readonly<Record<string, string | number | true>>;
  /** Instruction set: v1 to v4; v3 (Linux 5.1: 32-bit and signed jumps) if left out. */
  cpu?: "v1" | "v2" | "v3" | "v4";
  /** Further arguments for clang. */
  flags?: readonly string[];
  /**
   * Folder for compiled objects, or false for none; default $XDG_CACHE_HOME/bpf-linker, or ~/.cache/bpf-linker. It is made with
   * mode 0700, and not used where another user could write to it.
   */
  cache?: string | false;
  clang?: Clang;
  /** "bitcode" writes LLVM bitcode, for linkLlvm(), in place of a BPF object. */
  emit?: "object" | "bitcode";
}

export interface CompileResult {
  /** The object's path. */
  readonly object: string;
  readonly warnings: readonly Diagnostic[];
  /** Whether nothing had changed since an earlier compilation. */
  readonly cached: boolean;
}

/** Debian keeps asm/ under the multiarch name; `__TARGET_ARCH_x` chooses the registers of bpf/bpf_tracing.h. */
const ARCHITECTURES: Readonly<Record<string, { multiarch: string; target: string }>> = {
  x64: { multiarch: "x86_64-linux-gnu", target: "x86" },
  arm64: { multiarch: "aarch64-linux-gnu", target: "arm64" },
  riscv64: { multiarch: "riscv64-linux-gnu", target: "riscv" },
  s390x: { multiarch: "s390x-linux-gnu", target: "s390" },
};

function hostFlags(): string[] {
  const host = ARCHITECTURES[process.arch];
  if (host === undefined) return [];
  const headers = `/usr/include/${host.multiarch}`;
  return [`-D__TARGET_ARCH_${host.target}`, ...(existsSync(headers) ? ["-idirafter", headers] : [])];
}

let newestClang: Promise<Clang> | undefined;

/** The search starts three processes or so: made once, unless it failed. */
export function defaultClang(): Promise<Clang> {
  newestClang ??= findClang().catch((error) => {
    newestClang = undefined;
    throw error;
  });
  return newestClang;
}

/** Runs clang. @returns its standard error @throws CompileError */
function runClang(clang: Clang, args: readonly string[], source: string): Promise<string> {
  return new Promise((done, fail) => {
    execFile(clang.path, args, { maxBuffer: 1 << 26 }, (error, _stdout, stderr) => {
      if (error === null) done(stderr);
      else fail(new CompileError(source, stderr || error.message));
    });
  });
}

/**
 * Compiles a C file to a BPF object with BTF (-O2 -g). Unchanged sources, headers, flags and compiler give the
 * object of the last time.
 * @throws CompileError, MissingCompilerError, BpfError (no such source)
 */
export async function compile(source: string, options: CompileOptions): Promise<CompileResult> {
  if (!existsSync(source)) {
    throw new BpfError(`compile ${source}`, { code: "ENOENT", found: "there is no such file" });
  }
  const clang = options.clang ?? (await defaultClang());
  const output = resolve(options.output);
  const defines = Object.entries(options.defines ?? {}).map(([name, value]) =>
    value === true ? `-D${name}` : `-D${name}=${value}`,
  );
  const args = [
    ...["-target", "bpf", `-mcpu=${options.cpu ?? "v3"}`, "-O2", "-g", "-Wall", "-fno-color-diagnostics"],
    ...hostFlags(),
    ...defines,
    ...(options.includes ?? []).map((folder) => `-I${folder}`),
    ...(options.emit === "bitcode" ? ["-emit-llvm"] : []),
    ...(options.flags ?? []),
  ];
  const command = [clang.version, clang.path, process.cwd(), ...args, source];
  const folder = PrivateCache.open(options.cache);
  const cache = folder && new ObjectCache(folder);
  const hit = await cache?.restore(command, source, output);
  if (hit !== undefined) return { object: output, warnings: parseDiagnostics(hit), cached: true };

  return await inTemporaryFolder(async (work) => {
    const object = join(work, "object.o");
    const rule = join(work, "object.d");
    const stderr = await runClang(clang, [...args, "-MD", "-MF", rule, "-c", source, "-o", object], source);
    await install(object, output);
    await cache?.store(command, object, parseDependencies(await readFile(rule, "utf8")), stderr);
    return { object: output, warnings: parseDiagnostics(stderr), cached: false };
  });
}
