import { isDeepStrictEqual } from "node:util";
import { InvalidObjectError } from "../errors.js";
import type { Globals } from "../globals.js";
import { BpfObject, type OpenOptions } from "../object.js";
import type { ObjectProgram } from "../object-program.js";
import { codec } from "../types/codec.js";
import type { TypeModel } from "../types/model.js";
import { GLOBAL_KINDS, type ObjectModel, objectModel } from "./object-model.js";
import { typedMap } from "./typed-map.js";

/** What a generated module says of its object to the type checker. */
export interface ObjectTypes {
  readonly maps: object;
  readonly programs: string;
  readonly rodata: object;
  readonly data: object;
  readonly bss: object;
}

/** A BPF object whose maps, global variables and programs have types. Made by a generated module's open(). */
export class TypedObject<T extends ObjectTypes> implements Disposable {
  /** The same object untyped, for what has no types: sizes before load(), BTF. */
  readonly object: BpfObject;
  readonly maps: T["maps"];
  readonly programs: Readonly<Record<T["programs"], ObjectProgram>>;
  /** `const volatile` variables: to be set before load(). */
  readonly rodata: T["rodata"];
  readonly data: T["data"];
  readonly bss: T["bss"];

  constructor(object: BpfObject, model: ObjectModel) {
    this.object = object;
    this.maps = Object.fromEntries(
      Object.entries(model.maps).map(([name, map]) => [name, typedMap(object.map(name), map)]),
    ) as T["maps"];
    this.programs = Object.fromEntries(object.programs) as Record<T["programs"], ObjectProgram>;
    this.rodata = accessors(object.rodata, model.rodata);
    this.data = accessors(object.data, model.data);
    this.bss = accessors(object.bss, model.bss);
  }

  /** Creates the maps and loads the programs; see BpfObject.load(). */
  load(): this {
    this.object.load();
    return this;
  }

  close(): void {
    this.object.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

/** One property a variable; reading and writing go to the variable's memory, without a system call. */
function accessors<G>(globals: Globals, models: Readonly<Record<string, TypeModel>>): G {
  const target = {};
  for (const [name, model] of Object.entries(models)) {
    const coder = codec(model);
    Object.defineProperty(target, name, {
      enumerable: true,
      get: () => coder.decode(globals.bytes(name)),
      set: (value) => globals.set(name, coder.encode(value)),
    });
  }
  return Object.seal(target) as G;
}

/** Opens objects of one build of a C source, with its types. */
export interface ObjectModule<T extends ObjectTypes> {
  readonly name: string;
  readonly model: ObjectModel;
  /**
   * Opens the object file that the module was generated from, or its bytes.
   * @throws InvalidObjectError where a map or variable differs from the module's, and the errors of BpfObject.open()
   */
  open(source: string | Uint8Array, options?: OpenOptions): TypedObject<T>;
}

/** What generated modules call. */
export function defineObject<T extends ObjectTypes>(definition: {
  name: string;
  model: ObjectModel;
  programs: readonly T["programs"][];
}): ObjectModule<T> {
  const { name, model, programs } = definition;
  return {
    name,
    model,
    open(source, options = {}) {
      const object = BpfObject.open(source, { name, ...options });
      try {
        demandSame(object, model, programs);
        return new TypedObject<T>(object, model);
      } catch (error) {
        object.close();
        throw error;
      }
    },
  };
}

/** More maps, variables and programs than the module knows do no harm; those that it knows have to be the same. */
function demandSame(object: BpfObject, model: ObjectModel, programs: readonly string[]): void {
  const op = `open BPF object ${object.name}`;
  if (object.btf === undefined)
    throw new InvalidObjectError(op, "it has no BTF", { hint: "compile it with -g" });
  const found = objectModel(object.btf);
  const differs = (["maps", ...GLOBAL_KINDS] as const).flatMap((part) =>
    Object.entries(model[part])
      .filter(([name, expected]) => !isDeepStrictEqual(found[part][name], expected))
      .map(([name]) => (part === "maps" ? `map ${name}` : `variable ${name}`)),
  );
  const missing = programs
    .filter((program) => !object.programs.has(program))
    .map((name) => `program ${name}`);
  const [first] = [...differs, ...missing];
  if (first === undefined) return;
  throw new InvalidObjectError(op, `its ${first} is not the one that the generated module describes`, {
    hint: "run libbpf-ts gen again",
  });
}
