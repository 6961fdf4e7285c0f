/**
 * Joins the KTAP streams of several runs into one: whole tests, in the order in which they end, numbered anew. A run that
 * breaks off may go on as another in the same stream. Nothing is written before one of them has said something.
 */
export class KtapJoiner {
  private readonly write: (text: string) => void;
  private readonly pending: string[][] = [];
  private readonly plan: number;
  private count = 0;
  private begun = false;

  /** @param plan tests of all streams together */
  constructor(write: (text: string) => void, plan: number) {
    this.write = write;
    this.plan = plan;
  }

  /** Whether something was written, and so the plan. */
  get hasBegun(): boolean {
    return this.begun;
  }

  /** Takes one of the streams as it arrives, cut anywhere. */
  stream(): (text: string) => void {
    const lines: string[] = [];
    this.pending.push(lines);
    let rest = "";
    return (text) => {
      const whole = (rest + text).split("\n");
      rest = whole.pop() as string;
      for (const line of whole) this.line(lines, line);
    };
  }

  /** Writes what streams that broke off had said of a test that did not end. */
  end(): void {
    for (const lines of this.pending) this.flush(lines);
  }

  private line(lines: string[], line: string): void {
    if (/^(|KTAP version \d+|1\.\.\d+.*)$/.test(line)) return;
    const [, result, what] = line.match(/^(ok|not ok) \d+(.*)$/) ?? [];
    if (result === undefined) {
      lines.push(line);
      if (this.pending.length === 1) this.flush(lines); // nobody else's come in between
      return;
    }
    lines.push(`${result} ${++this.count}${what}`);
    this.flush(lines);
  }

  private flush(lines: string[]): void {
    if (lines.length === 0) return;
    if (!this.begun) this.write(`KTAP version 1\n1..${this.plan}\n`);
    this.begun = true;
    this.write(lines.splice(0).reduce((text, line) => `${text}${line}\n`, ""));
  }
}
