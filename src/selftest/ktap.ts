/**
 * KTAP, the kernel's test format (Documentation/dev-tools/ktap.rst). A writer is one level of tests; subtests are a
 * writer of their own, indented by two spaces.
 */
export class KtapWriter {
  private readonly write: (text: string) => void;
  private readonly indent: string;
  private count = 0;

  /**
   * Starts a level with its version line.
   * @param write takes whole lines, as they come.
   * @param plan the number of tests, where it is known; KTAP lets subtests leave it out.
   */
  constructor(write: (text: string) => void, plan?: number, indent = "") {
    this.write = write;
    this.indent = indent;
    this.line("KTAP version 1");
    if (plan !== undefined) this.line(`1..${plan}`);
  }

  /** A level with no test at all, and why. */
  static skipAll(write: (text: string) => void, why: string): void {
    write(`KTAP version 1\n1..0 # SKIP ${oneLine(why)}\n`);
  }

  /** One test's result; `skip` says why it was not run. */
  result(ok: boolean, name: string, skip?: string): void {
    this.count++;
    const directive = skip === undefined ? "" : ` # SKIP ${oneLine(skip)}`;
    this.line(`${ok ? "ok" : "not ok"} ${this.count} ${escapeName(name)}${directive}`);
  }

  /** Diagnostic lines; they belong to the result that follows. */
  diagnostic(text: string): void {
    for (const line of text.split("\n")) this.line(`# ${line}`);
  }

  /** The subtests of the result that follows. */
  subtests(): KtapWriter {
    return new KtapWriter(this.write, undefined, `${this.indent}  `);
  }

  private line(text: string): void {
    this.write(`${this.indent}${text}\n`);
  }
}

const oneLine = (text: string) => text.replaceAll(/\s*\n\s*/g, " ");
// "#" would start a directive.
const escapeName = (name: string) => oneLine(name).replaceAll("#", "\\#");
