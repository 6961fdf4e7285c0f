import { writeFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { BpfError } from "../errors.js";
import { generateModule } from "./generate.js";

const USAGE = `usage: libbpf-ts gen OBJECT [-o FILE] [--name NAME] [--type C_TYPE]... [--types-only]

Writes a TypeScript module with the types of the object's maps, global variables and programs.

  -o FILE        where to; "-" is standard output; default: beside the object, x.bpf.o gives x.bpf.ts
  --name NAME    the object's name; default from the file's
  --type C_TYPE  a struct, union or enum to include though no map or global variable leads to it
  --types-only   no maps, variables and programs: the module imports "libbpf-ts/types", which needs no libbpf

example: libbpf-ts gen count.bpf.o -o src/count.bpf.ts
`;

/** The command line `libbpf-ts`. @returns the exit code: 0 done, 1 failed, 2 wrong usage */
export function main(args: readonly string[]): number {
  const given = parse(args);
  if (typeof given === "string") {
    process.stderr.write(`${given}\n${USAGE}`);
    return 2;
  }
  const { object, values } = given;
  if (values.help) {
    process.stdout.write(USAGE);
    return 0;
  }
  try {
    const { name, type: types = [], "types-only": typesOnly = false } = values;
    const text = generateModule(object, { types, typesOnly, ...(name === undefined ? {} : { name }) });
    const output = values.output ?? object.replace(/\.o$/, ".ts");
    if (output === "-") process.stdout.write(text);
    else writeFileSync(output, text);
    return 0;
  } catch (error) {
    if (!(error instanceof BpfError) && (error as NodeJS.ErrnoException).code === undefined) throw error;
    process.stderr.write(`libbpf-ts: ${(error as Error).message}\n`);
    return 1;
  }
}

function parse(args: readonly string[]) {
  try {
    const { values, positionals } = parseArgs({
      args: [...args],
      allowPositionals: true,
      options: {
        output: { type: "string", short: "o" },
        name: { type: "string" },
        type: { type: "string", multiple: true },
        "types-only": { type: "boolean" },
        help: { type: "boolean", short: "h" },
      },
    });
    const [command, object = "", ...rest] = positionals;
    if (values.help) return { object, values };
    if (command !== "gen")
      return `libbpf-ts: ${command === undefined ? "no command" : `no command "${command}"`}`;
    if (object === "" || rest.length > 0) return "libbpf-ts gen: give one object file";
    if (!object.endsWith(".o") && values.output === undefined)
      return "libbpf-ts gen: say where to write by -o";
    return { object, values };
  } catch (error) {
    return `libbpf-ts: ${(error as Error).message}`;
  }
}
