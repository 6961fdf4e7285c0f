import { KtapParser } from "../ktap-parser.js";
import type { Scenario } from "../scenario.js";
import { VmError } from "./errors.js";

/**
 * Rarely, an emulated machine hangs with no fault of what runs in it. Another one then goes on with what has no result,
 * first with what was under way: where that hangs again, it is to blame.
 *
 * @param run runs scenarios in a machine, and writes their KTAP
 * @throws VmError as `run` does; "hang" from the second machine only
 */
export async function resumed<T>(
  scenarios: readonly Scenario[],
  write: (text: string) => void,
  run: (scenarios: readonly Scenario[], write: (text: string) => void) => Promise<T>,
): Promise<T> {
  const parser = new KtapParser();
  try {
    return await run(scenarios, (text) => {
      parser.push(text);
      write(text);
    });
  } catch (error) {
    if (!(error instanceof VmError) || error.kind !== "hang") throw error;
    const done = new Set(parser.tests.map(({ name }) => name));
    write(`\n# ${error.message.replaceAll("\n", "\n# ")}\n# another one goes on\n`);
    return await run(
      scenarios.filter(({ name }) => !done.has(name)),
      write,
    );
  }
}
