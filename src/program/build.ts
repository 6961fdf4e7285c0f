import { readFileSync } from "node:fs";
import { basename, join } from "node:path";
import { compile, formatDiagnostic } from "bpf-linker";
import { BpfError, Btf } from "libbpf-ts";
import type { BuiltProgram, Policy, ProgramConfig } from "../config/policy.js";
import { packageRoot } from "../sys/paths.js";
import { inPrivateFolder } from "../sys/private-folder.js";
import { RegularFileError, readRegular } from "../sys/regular-file.js";
import { demandTrusted } from "../sys/trusted-path.js";
import { ProgramError } from "./error.js";
import { encodeValue } from "./value.js";

/**
 * The policy with its program compiled and its constants and map entries in bytes; the policy itself where it has no
 * program, or one that is built already.
 *
 * @throws CompileError of bpf-linker, MissingCompilerError, ProgramError; TrustError where root would run another's program
 */
export async function withBuiltProgram(policy: Policy): Promise<Policy> {
  const { program } = policy;
  if (!program || program.built) return policy;
  return { ...policy, program: { ...program, built: await build(program) } };
}

async function build(program: ProgramConfig): Promise<BuiltProgram> {
  const object = await objectOf(program.file);
  const name = basename(program.file);
  const btf = readBtf(object, name);
  if (!btf.types.some((type) => type.kind === "func" && type.name === "steer" && type.linkage === "global"))
    throw new ProgramError(
      `${program.file} defines no function steer; write int steer(struct __sk_buff *skb, struct xfrm_steer_info *info)`,
    );
  return {
    object: object.toString("base64"),
    constants: Object.entries(program.constants).map(([constant, values]) => ({
      name: constant,
      bytes: encodeConstant(btf, constant, values, name),
    })),
    maps: program.maps.map(({ map, key, value }) => {
      const types = mapTypes(btf, map, name);
      const encode = (part: "key" | "value", texts: readonly string[]) =>
        encodeValue(btf, types[part], texts, `the ${part} ${texts.join(",")} of map ${map}`).toString(
          "base64",
        );
      return { map, key: encode("key", key), value: encode("value", value) };
    }),
  };
}

/** Sources and objects are of some 100 KB. */
const MAX_PROGRAM_BYTES = 64 << 20;

async function objectOf(file: string): Promise<Buffer> {
  demandTrusted(file, `the program ${file}`);
  const content = read(file);
  if (file.endsWith(".o")) return content;
  if (!file.endsWith(".c"))
    throw new ProgramError(`${file} is neither a C file (.bpf.c) nor a BPF object (.o); name one of these`);
  return await inPrivateFolder("xfrm-steer-program-", async (folder) => {
    const output = join(folder, "program.o");
    const { warnings } = await compile(file, { output, includes: [join(packageRoot, "bpf")] });
    for (const warning of warnings) console.error(formatDiagnostic(warning));
    return readFileSync(output);
  });
}

function read(file: string): Buffer {
  try {
    return readRegular(file, MAX_PROGRAM_BYTES);
  } catch (cause) {
    if (cause instanceof RegularFileError) throw new ProgramError(cause.message, { cause });
    throw new ProgramError(
      `the program ${file} cannot be read (${(cause as NodeJS.ErrnoException).code}); check the path`,
      { cause },
    );
  }
}

function readBtf(object: Buffer, name: string): Btf {
  try {
    return Btf.parse(object);
  } catch (cause) {
    if (!(cause instanceof BpfError)) throw cause;
    throw new ProgramError(`${name}: ${cause.message}`, { cause });
  }
}

const listed = (names: readonly string[]) =>
  names.length > 0 ? `it has ${names.join(", ")}` : "it has none";

function encodeConstant(btf: Btf, constant: string, values: readonly string[], name: string): string {
  const all = btf
    .datasecs()
    .filter((section) => section === ".rodata" || section.startsWith(".rodata."))
    .flatMap((section) => btf.datasec(section).variables);
  const variable = all.find((each) => each.name === constant);
  if (!variable)
    throw new ProgramError(
      `${name} has no constant ${constant}; ${listed(all.map((each) => each.name))} (const volatile variables)`,
    );
  return encodeValue(btf, variable.typeId, values, `constant ${constant}`).toString("base64");
}

/** Types of a map's keys and values, from the pointers that __type() in its definition makes of them. */
function mapTypes(btf: Btf, map: string, name: string): { key: number; value: number } {
  const all = btf.datasecs().includes(".maps") ? btf.datasec(".maps").variables : [];
  const variable = all.find((each) => each.name === map);
  if (!variable) throw new ProgramError(`${name} has no map ${map}; ${listed(all.map((each) => each.name))}`);
  const definition = btf.resolve(variable.typeId);
  const pointee = (member: "key" | "value") => {
    const pointer =
      definition.kind === "struct" ? definition.members.find((each) => each.name === member) : undefined;
    const type = pointer && btf.resolve(pointer.type);
    if (type?.kind !== "ptr")
      throw new ProgramError(
        `map ${map} of ${name} says no type for its ${member}; give it __type(${member}, ...)`,
      );
    return type.type;
  };
  return { key: pointee("key"), value: pointee("value") };
}
