import { execFile } from "node:child_process";
import { existsSync, realpathSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { promisify } from "node:util";
import { BpfError } from "libbpf-ts";
import { install } from "./cache.js";
import type { Clang } from "./clang.js";
import { type CompileOptions, type CompileResult, compile, defaultClang } from "./compile.js";
import { inTemporaryFolder } from "./private-folder.js";

const run = promisify(execFile);

/** A tool of LLVM is missing, or refused its input. `stderr` is all that it wrote. */
export class LlvmError extends BpfError {
  readonly tool: string;
  readonly stderr: string;
  constructor(tool: string, found: string, hint?: string) {
    super(`link by ${tool}`, { code: "LLVM", found: found.split("\n", 1)[0] ?? "", hint });
    this.tool = tool;
    this.stderr = found;
  }
}

export interface LlvmOptions extends Omit<CompileOptions, "emit"> {
  /** Functions that stay callable from outside, beside programs; all others may be inlined away. */
  exports?: readonly string[];
}

/** The tools stand beside the real clang (/usr/lib/llvm-14/bin) and have to be of its version: bitcode is not stable. */
function toolOf(clang: Clang, name: string): string {
  const path = join(dirname(realpathSync(clang.path)), name);
  if (existsSync(path)) return path;
  const hint = `install LLVM ${clang.major}'s tools (Debian: apt-get install llvm-${clang.major})`;
  throw new LlvmError(name, `${path} is missing`, hint);
}

const HINTS: readonly [RegExp, string][] = [
  [/symbol multiply defined/, "define it in one file; with linkLlvm() that goes for _license too"],
  [/relocation|undefined/i, "give all files that the functions are in"],
];

async function tool(clang: Clang, name: string, args: readonly string[]): Promise<string> {
  try {
    return (await run(toolOf(clang, name), args, { maxBuffer: 1 << 26 })).stdout;
  } catch (error) {
    if (error instanceof LlvmError) throw error;
    const { stderr = "", message } = error as { stderr?: string; message: string };
    const said = stderr.trim() || message;
    throw new LlvmError(name, said, HINTS.find(([words]) => words.test(said))?.[1]);
  }
}

/**
 * Names that libbpf looks for in a module's text: programs, which are the functions with a section of their own, and
 * variables, which user space shares.
 */
function publicSymbols(module: string): string[] {
  const programs = module.matchAll(/^define (?!internal |private ).*?@([\w.$]+)\(.*\bsection "/gm);
  const variables = module.matchAll(/^@([\w.$]+) = (?!internal |private |external )/gm);
  return [...programs, ...variables]
    .map((match) => match[1] ?? "")
    .filter((name) => !name.startsWith("llvm."));
}

/**
 * Compiles C files and links them by LLVM into one object, as one program: functions are inlined across files. Where
 * libbpf's linker keeps each global function, which the verifier checks on its own, nothing but programs, maps and
 * global variables is left here. Debug information comes along as BTF.
 * @throws CompileError, LlvmError, MissingCompilerError
 */
export async function linkLlvm(sources: readonly string[], options: LlvmOptions): Promise<CompileResult> {
  const clang = options.clang ?? (await defaultClang());
  return await inTemporaryFolder(async (work) => {
    const file = (name: string): string => join(work, name);
    const { exports: keep = [], ...compileOptions } = options;
    const parts = await Promise.all(
      sources.map((source, index) =>
        compile(source, { ...compileOptions, clang, output: file(`${index}.bc`), emit: "bitcode" }),
      ),
    );
    await tool(clang, "llvm-link", [...parts.map((part) => part.object), "-o", file("linked.bc")]);
    const kept = publicSymbols(await tool(clang, "llvm-dis", [file("linked.bc"), "-o", "-"]));
    await tool(clang, "opt", [
      "-passes=internalize,default<O2>",
      `-internalize-public-api-list=${[...kept, ...keep].join(",")}`,
      file("linked.bc"),
      ...["-o", file("optimised.bc")],
    ]);
    const cpu = options.cpu ?? "v3";
    await tool(clang, "llc", [
      ...["-march=bpf", `-mcpu=${cpu}`, "-filetype=obj"],
      ...[file("optimised.bc"), "-o", file("object.o")],
    ]);
    const output = resolve(options.output);
    await install(file("object.o"), output);
    return {
      object: output,
      warnings: parts.flatMap((part) => part.warnings),
      cached: parts.every((part) => part.cached),
    };
  });
}
