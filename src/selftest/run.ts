import { Context } from "./context.js";
import { feature } from "./features.js";
import { KtapWriter } from "./ktap.js";
import type { Scenario } from "./scenario.js";

export interface RunOptions {
  /** Takes KTAP lines as they come. */
  write: (text: string) => void;
  /** Where captures of failed scenarios are kept; not kept when left out. */
  captures?: string | undefined;
  /** Ends the running scenario, as failed and cleaned up, and runs no other. */
  signal?: AbortSignal | undefined;
}

/** Of a scenario that does not say another. */
export const DEFAULT_LIMIT_MS = 300_000;
/** The diagnostic that carries a test's duration; reportOf() takes it out again. */
export const DURATION = "duration_ms";

/** Runs scenarios one after the other in this kernel, and reports them in KTAP. */
export async function runScenarios(scenarios: readonly Scenario[], options: RunOptions): Promise<void> {
  const ktap = new KtapWriter(options.write, scenarios.length);
  for (const each of scenarios) {
    if (options.signal?.aborted) return;
    await runScenario(each, ktap, options);
  }
}

async function runScenario(scenario: Scenario, ktap: KtapWriter, options: RunOptions): Promise<void> {
  const start = performance.now();
  const report = (ok: boolean, skip?: string) => {
    ktap.diagnostic(`${DURATION} ${Math.round(performance.now() - start)}`);
    ktap.result(ok, scenario.name, skip);
  };
  for (const need of scenario.needs ?? []) {
    const verdict = await feature(need);
    if (verdict.have) continue;
    if (verdict.verdict === "skip") return report(true, verdict.why);
    ktap.diagnostic(verdict.why);
    return report(false);
  }
  const context = new Context(ktap);
  let ok = true;
  try {
    await bounded(scenario.run(context), scenario.limitMs ?? DEFAULT_LIMIT_MS, options.signal);
  } catch (error) {
    ok = false;
    ktap.diagnostic(error instanceof Error ? error.message : String(error));
    ktap.diagnostic(await context.counters().catch((failure) => `counters could not be read: ${failure}`));
    ktap.diagnostic(scenario.topology.replace(/^\n+|\s+$/g, ""));
    if (options.captures) context.saveCaptures(options.captures, scenario.name);
  }
  try {
    await context.cleanUp();
  } catch (error) {
    ok = false;
    ktap.diagnostic(`cleaning up: ${error instanceof Error ? error.message : error}`);
  }
  report(ok);
}

/** Waits for a run, but no longer than `ms`, nor than `signal` lets it. */
async function bounded(run: Promise<void>, ms: number, signal?: AbortSignal): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  let interrupt = () => {};
  const end = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`did not end within its ${ms / 1000} s`)), ms);
    interrupt = () => reject(new Error("interrupted"));
    signal?.addEventListener("abort", interrupt);
    if (signal?.aborted) interrupt();
  });
  try {
    await Promise.race([run, end]);
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener("abort", interrupt);
  }
}
