/** A policy that the tables cannot hold; `rules` are the names of the rules that do not fit. */
export class CompileError extends Error {
  override readonly name = "CompileError";
  readonly rules: readonly string[];
  constructor(message: string, rules: readonly string[]) {
    super(message);
    this.rules = rules;
  }
}
