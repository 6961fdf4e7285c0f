import { writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { LinkError, link } from "bpf-linker";
import { type BpfObject, VerifierError } from "libbpf-ts";
import { type Carrier, type ClassifierOptions, loadClassifier, loadRules } from "../backends/classifier.js";
import type { Generation } from "../compiler/compile.js";
import type { BuiltProgram, Policy, ProgramConfig } from "../config/policy.js";
import { bpfObjectPath } from "../sys/paths.js";
import { PrivateFolder } from "../sys/private-folder.js";
import { ProgramError, ProgramRefusedError } from "./error.js";

/**
 * Loads a generation's steering programs, with the policy's own program in front of the rules where it has one.
 * Nothing is attached yet. The caller closes the object.
 *
 * @throws ProgramError where the program cannot be linked, ProgramRefusedError where the verifier refuses it; the
 * errors of loadClassifier
 */
export function loadSteering(
  carrier: Carrier,
  generation: Generation,
  { program }: Policy,
  options: Pick<ClassifierOptions, "before" | "epoch" | "liveFlows"> = {},
): BpfObject {
  if (!program) return loadRules(carrier, generation, options);
  const { built } = program;
  if (!built) throw new Error(`${program.file} has not been built`);
  const folder = new PrivateFolder("xfrm-steer-program-");
  try {
    const object = loadClassifier(linkWith(program, built, carrier, folder.path), generation, {
      ...options,
      prefix: steeringPrefix(program),
      prepare: ({ rodata }) => {
        rodata.set("program_alone", generation.connections.length === 0 ? 1 : 0);
        for (const { name, bytes } of built.constants) rodata.set(name, Buffer.from(bytes, "base64"));
      },
    });
    try {
      for (const { map, key, value } of built.maps)
        object.map(map).update(Buffer.from(key, "base64"), Buffer.from(value, "base64"));
    } catch (error) {
      object.close();
      throw error;
    }
    return object;
  } catch (error) {
    throw error instanceof VerifierError ? refusal(program, error) : error;
  } finally {
    folder.remove();
  }
}

/** What the classifier's names begin with beside a program of the policy's own (scripts/build-bpf.js). */
export function steeringPrefix(program: ProgramConfig | undefined): string {
  return program ? "xs_" : "";
}

function linkWith({ file }: ProgramConfig, built: BuiltProgram, carrier: Carrier, folder: string): string {
  const own = join(folder, basename(file).replace(/\.c$/, ".o"));
  writeFileSync(own, Buffer.from(built.object, "base64"));
  const ours = ["program", "rules_behind", `${carrier}_egress`, `${carrier}_ingress`];
  try {
    return link([own, ...ours.map(bpfObjectPath)], join(folder, "linked.o"));
  } catch (error) {
    if (!(error instanceof LinkError)) throw error;
    throw new ProgramError(
      `${file} cannot be linked with what attaches it: ${error.message}; make its names other than those of ` +
        "bpf/classifier.bpf.c, and leave out its license section",
      { cause: error },
    );
  }
}

function refusal({ file }: ProgramConfig, error: VerifierError): ProgramRefusedError {
  const { source, message } = error;
  // The compiler may have been given another path to the file than we were, or it is in a header.
  const named = source?.file === undefined || basename(source.file) === basename(file) ? file : source.file;
  const where = source?.line === undefined ? named : `${named}:${source.line}`;
  const line = source === undefined ? [] : [source.text.trim()];
  const [, said = message] = message.split(/the verifier refused it.*?\): /s);
  return new ProgramRefusedError(
    [`${where}: the verifier refused the program`, ...line, ...said.split(" | ")].join("\n  "),
    { cause: error },
  );
}
