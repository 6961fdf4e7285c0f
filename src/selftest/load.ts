import { extname, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { demandTrusted } from "../sys/trusted-path.js";
import { demandOwnModules } from "./module-owners.js";
import { isScenario, type Scenario } from "./scenario.js";

/** A file of scenarios that cannot be used, or a filter that matches none. */
export class ScenarioFileError extends Error {
  constructor(message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = "ScenarioFileError";
  }
}

// A variable, so that tsx is needed only by who runs scenarios written in TypeScript.
const TSX_API = "tsx/esm/api";

/** `tsconfig: false`, as the one in the working folder, whoever wrote that, may map any import to any file. */
interface TsxOptions {
  readonly parentURL: string;
  readonly tsconfig: false;
}

/**
 * The scenarios that a file exports, by whatever names, or in lists.
 * @throws ScenarioFileError when it cannot be loaded or exports none, also where root would run another user's code.
 */
export async function loadScenarioFile(path: string): Promise<Scenario[]> {
  const file = resolve(path);
  let exported: Record<string, unknown>;
  try {
    demandTrusted(file, `the scenario file ${path}`);
    demandOwnModules();
    if (/^\.[cm]?ts$/.test(extname(file))) {
      const { tsImport } = (await import(TSX_API)) as {
        tsImport: (file: string, options: TsxOptions) => Promise<Record<string, unknown>>;
      };
      exported = await tsImport(pathToFileURL(file).href, { parentURL: import.meta.url, tsconfig: false });
    } else {
      exported = (await import(pathToFileURL(file).href)) as Record<string, unknown>;
    }
  } catch (cause) {
    throw new ScenarioFileError(`loading ${path}: ${cause instanceof Error ? cause.message : cause}`, {
      cause,
    });
  }
  const found = [...new Set(Object.values(exported).flat().filter(isScenario))];
  if (found.length === 0) {
    throw new ScenarioFileError(
      `${path} exports no scenario: export default scenario({name, topology, run})`,
    );
  }
  return found;
}

/**
 * The scenarios whose name holds `filter`, or matches it where it has a "*".
 * @throws ScenarioFileError when none does, or two share a name.
 */
export function selectScenarios(all: readonly Scenario[], filter?: string): Scenario[] {
  const twice = all.find((each, index) => all.findIndex(({ name }) => name === each.name) !== index);
  if (twice) throw new ScenarioFileError(`two scenarios are called ${twice.name}`);
  if (!filter) return [...all];
  const literal = filter.split("*").map((part) => part.replaceAll(/[.*+?^${}()|[\]\\]/g, "\\$&"));
  const pattern = new RegExp(filter.includes("*") ? `^${literal.join(".*")}$` : (literal[0] as string));
  const selected = all.filter(({ name }) => pattern.test(name));
  if (selected.length === 0) throw new ScenarioFileError(`no scenario matches "${filter}"; --list shows all`);
  return selected;
}
