/**
 * Joins the KTAP streams of several runs into one: whole tests, in the order in which they end, numbered anew. A run that
 * breaks off may go on as another in the same stream.
 */
export class KtapJoiner {
  private readonly write: (text: string) => void;
  private readonly pending: string[][] = [];
  private count = 0;

  /** @param plan tests of all streams together */
  constructor(write: (text: string) => void, plan: number) {
    this.write = write;
    write(`KTAP version 1\n1..${plan}\n`);
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
    if (lines.length > 0) this.write(lines.splice(0).reduce((text, line) => `${text}${line}\n`, ""));
  }
}
