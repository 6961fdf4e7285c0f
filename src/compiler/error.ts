import { type Diagnostic, formatDiagnostic } from "../config/diagnostics.js";

/** What is wrong with a policy as a whole, and what would be right. */
type Misfit = Pick<Diagnostic, "message" | "hint">;

/** A policy that the tables (or routes) cannot hold. */
export class CompileError extends Error {
  override readonly name = "CompileError";
  /** Each of a place in the policy's files; none where it is the whole that does not fit. */
  readonly diagnostics: readonly Diagnostic[];
  readonly whole: Misfit | null;
  /** Names of the rules that do not fit. */
  readonly rules: readonly string[];

  constructor(what: readonly Diagnostic[] | Misfit, rules: readonly string[] = []) {
    super("message" in what ? `${what.message}; ${what.hint}` : what.map(formatDiagnostic).join("\n"));
    this.diagnostics = "message" in what ? [] : what;
    this.whole = "message" in what ? what : null;
    this.rules = rules;
  }
}
