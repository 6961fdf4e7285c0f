/** One test of the top level. */
export interface KtapTest {
  name: string;
  ok: boolean;
  /** Why it was skipped; undefined for a test that ran. */
  skip: string | undefined;
  /** The lines between the result before and this one: diagnostics without "# ", subtests as they are. */
  diagnostics: string[];
}

const RESULT = /^(ok|not ok) \d+ ?(.*)$/;
const PLAN = /^1\.\.(\d+)(?: # SKIP ?(.*))?$/;
const VERSION = /^\s*K?TAP version \d+$/;

/** Reads a KTAP stream as it arrives, cut anywhere. */
export class KtapParser {
  readonly tests: KtapTest[] = [];
  /** The number of tests announced; undefined before the plan came. */
  plan: number | undefined;
  /** Set when the plan said that nothing would run. */
  skipAll: string | undefined;
  private rest = "";
  private pending: string[] = [];

  push(text: string): void {
    const lines = (this.rest + text).split("\n");
    this.rest = lines.pop() as string;
    for (const line of lines) this.line(line);
  }

  /** What was said since the last result: in a stream cut short, the words of the test that never ended. */
  unfinished(): readonly string[] {
    return this.rest ? [...this.pending, this.rest] : this.pending;
  }

  private line(line: string): void {
    const plan = line.match(PLAN);
    const result = line.match(RESULT);
    if (plan) {
      this.plan = Number(plan[1]);
      this.skipAll = plan[2];
    } else if (result) {
      const [name, skip] = splitDirective(result[2] as string);
      this.tests.push({ name, ok: result[1] === "ok", skip, diagnostics: this.pending });
      this.pending = [];
    } else if (line && !VERSION.test(line)) {
      this.pending.push(line.startsWith("# ") ? line.slice(2) : line);
    }
  }
}

function splitDirective(text: string): [name: string, skip: string | undefined] {
  const [, name, skip] = text.match(/^(.*?)(?<!\\)# ?SKIP ?(.*)$/) ?? [];
  return [(name ?? text).trim().replaceAll("\\#", "#"), skip];
}
