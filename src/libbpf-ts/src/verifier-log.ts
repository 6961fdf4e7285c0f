import { BpfError } from "./errors.js";
import { LineInfo, type SourceLine } from "./line-info.js";

/** The verifier refused a program. The message has the telling lines, `log` all of them. */
export class VerifierError extends BpfError {
  override readonly log: string;
  readonly program: string;
  /** What the verifier said, without the state dumps. */
  readonly reason: string;
  /** The C line that the verifier was at. */
  readonly source: SourceLine | undefined;

  /** @param object the object file's bytes: they tell the C line's place, which kernels before 6.8 leave out of the log */
  constructor(program: string, errno: number, code: string, log: string, object?: Uint8Array) {
    const telling = tellingLines(log);
    const source = sourceLine(program, log, object);
    const place = source?.file === undefined ? "" : ` at ${source.file}:${source.line}`;
    const omitted = telling.omitted > 0 ? ` (${telling.omitted} lines omitted)` : "";
    super(`load program ${program}`, {
      code,
      errno,
      found: `the verifier refused it${place} (${code}): ${telling.lines.join(" | ")}${omitted}`,
      hint: hintFor(telling.lines.join("\n")),
      log,
    });
    this.log = log;
    this.program = program;
    this.reason = telling.lines.at(-1) ?? "";
    this.source = source;
  }
}

const STATISTICS =
  /^(processed \d+ insns|verification time|stack depth|insns_processed|max_states|mark_read)/;
const SOURCE = /^; (.*?)(?: @ (.+):(\d+))?$/;
const INSTRUCTION = /^(\d+): \([0-9a-f]{2}\)/;
/** From Linux 7.3 on the log closes with a report whose line of this name says what is wrong. */
const REASON = /^\s*Reason:/;
const REASON_LINES = 3;
/** What the verifier says after the instruction takes one line, or two with a register's range. */
const VERDICT_LINES = 3;

function linesOf(log: string): string[] {
  return log
    .split("\n")
    .map((line) => line.trimEnd())
    .filter((line) => line !== "");
}

/** The lines after the last instruction, with that instruction; statistics left out. */
function tellingLines(log: string): { lines: string[]; omitted: number } {
  const all = linesOf(log);
  const kept = all.filter((line) => !STATISTICS.test(line));
  const report = kept.findLastIndex((line) => REASON.test(line));
  if (report >= 0) {
    const shown = kept.slice(report, report + REASON_LINES).map((line) => line.trim());
    return { lines: shown, omitted: all.length - shown.length };
  }
  if (kept.length === 0) return { lines: ["it gave no log"], omitted: 0 };
  const instruction = kept.findLastIndex((line) => INSTRUCTION.test(line));
  const verdict = kept.slice(instruction + 1).slice(-VERDICT_LINES);
  const shown = [...kept.slice(instruction, instruction + 1), ...verdict].map((line) => line.trim());
  return { lines: shown, omitted: all.length - shown.length };
}

function sourceLine(program: string, log: string, object: Uint8Array | undefined): SourceLine | undefined {
  const all = linesOf(log);
  const [, text, file, line] = all.findLast((candidate) => candidate.startsWith("; "))?.match(SOURCE) ?? [];
  if (text !== undefined && file !== undefined) return { text, file, line: Number(line) };
  const info = object && new LineInfo(object);
  const index = all.findLast((candidate) => INSTRUCTION.test(candidate))?.match(INSTRUCTION)?.[1];
  const byIndex = index === undefined ? undefined : info?.at(program, Number(index));
  const found = byIndex ?? (text === undefined ? undefined : info?.reading(text));
  if (found !== undefined) return { text: found.text, file: found.file, line: found.line };
  return text === undefined ? undefined : { text, file: undefined, line: undefined };
}

/** Common causes (kernel/bpf/verifier.c), each by the words of its message. */
const HINTS: readonly [RegExp, string][] = [
  [/invalid access to packet|outside of the packet/, "compare the pointer with data_end before this access"],
  [
    /map_value_or_null|invalid mem access '\w*_or_null'/,
    "check the lookup's result for NULL before using it",
  ],
  [
    /invalid access to map value|unbounded memory access/,
    "mask or compare the offset, so that the verifier knows its bounds",
  ],
  [
    /BPF program is too large|too many instructions|processed 1000001 insns/,
    "bound the loop lower, or split the program",
  ],
  [/back-edge|infinite loop/, "give the loop a bound that the verifier can see"],
  [
    /combined stack size|stack of \d+ is too large|invalid .*stack off=-5[2-9]\d/,
    "the stack has 512 bytes: use a map",
  ],
  [/cannot call GPL-restricted function/, 'set char _license[] SEC("license") = "GPL" or "Dual MIT/GPL"'],
  [/unknown func|invalid func/, "this kernel or program type has no such helper"],
];

function hintFor(telling: string): string | undefined {
  return HINTS.find(([words]) => words.test(telling))?.[1];
}
