import { resolve } from "node:path";
import { Command } from "commander";
import { type Policy, parsePolicy } from "../config/index.js";
import type { ProgramConfig } from "../config/policy.js";
import { splitValues } from "../config/program.js";
import { withBuiltProgram } from "../program/build.js";
import { applyWith } from "./apply.js";
import { demandRoot } from "./backend.js";
import { CliError, ExitCode } from "./exit.js";
import { demandKeys, demandPolicy } from "./policy-file.js";

interface LoadFlags {
  set: string[];
  map: string[];
  interface?: string;
  json?: boolean;
}

const collect = (text: string, all: string[]) => [...all, text];

export function loadCommand(): Command {
  return new Command("load")
    .description(
      "your own steering program: compile, link, load, attach; alone, or in front of the rules of a policy",
    )
    .argument("<program>", "a C file (.bpf.c) or BPF object (.o) that defines steer() of bpf/xfrm_steer.h")
    .argument("[file]", "steer.yaml; left out: no rules, any connection that the kernel has an SA for")
    .option(
      "--set <name=value>",
      "set a constant (const volatile variable); members with commas",
      collect,
      [],
    )
    .option("--map <name:key=value>", "add an entry to a map", collect, [])
    .option("--interface <name>", "where there is no steer.yaml: the interface to steer on (ipsec0)")
    .option("--json", "one JSON document on stdout")
    .addHelpText(
      "after",
      "\nExample:\n  sudo xfrm-steer load spread.bpf.c steer.yaml --set n=2 --set if_ids=101,102 --map homes:10.0.0.9=102",
    )
    .action(async (path: string, file: string | undefined, options: LoadFlags) => {
      if (file !== undefined && options.interface !== undefined)
        throw new CliError(`${file} names the interface; leave --interface out`, ExitCode.usage);
      const started = performance.now();
      const policy =
        file === undefined ? alone(options.interface ?? "ipsec0") : demandPolicy(file, { withProgram: true });
      const readMs = performance.now() - started;
      demandRoot("load");
      const built = await withBuiltProgram(withProgram(policy, path, options));
      if (file !== undefined) demandKeys(policy, file);
      await applyWith(built, `loading ${path}`, { ...options, readMs });
    });
}

/** A policy that leaves all to its program. The userspace backend cannot serve it: it would have no keys. */
function alone(name: string): Policy {
  const text = JSON.stringify({
    ...{ version: 1, backend: "kernel-bpf", interface: { name }, connections: {} },
    program: { file: "." },
  });
  const { policy, diagnostics } = parsePolicy(text, "load");
  if (policy) return policy;
  throw new CliError(
    diagnostics.map(({ message, hint }) => `${message}; ${hint}`).join("\n"),
    ExitCode.usage,
  );
}

/**
 * Puts a program in front of a policy's rules. Where the policy has the same program, the command line wins over what it
 * says of a constant, and adds to its maps.
 */
function withProgram(policy: Policy, path: string, { set, map }: LoadFlags): Policy {
  const file = resolve(path);
  const same = policy.program?.file === file ? policy.program : undefined;
  const constants = { ...same?.constants };
  for (const text of set) {
    const [, name, value] = /^([^=]+)=(.*)$/s.exec(text) ?? wrong(text, "--set", "NAME=VALUE");
    constants[name as string] = splitValues(value as string);
  }
  const entries = map.map((text): ProgramConfig["maps"][number] => {
    const [, name, key, value] =
      /^([^:]+):(.*)=([^=]*)$/s.exec(text) ?? wrong(text, "--map", "NAME:KEY=VALUE");
    return { map: name as string, key: splitValues(key as string), value: splitValues(value as string) };
  });
  return {
    ...policy,
    program: { file, constants, maps: [...(same?.maps ?? []), ...entries], built: null },
  };
}

function wrong(text: string, option: string, form: string): never {
  throw new CliError(`${option} ${text}: write ${option} ${form}`, ExitCode.usage);
}
