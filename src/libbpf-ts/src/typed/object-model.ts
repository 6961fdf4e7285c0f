import type { Btf } from "../btf.js";
import { modelOf } from "../types/from-btf.js";
import type { TypeModel } from "../types/model.js";
import { type MapModel, mapModels } from "./map-definition.js";
import { sorted } from "./sorted.js";

export const GLOBAL_KINDS = ["rodata", "data", "bss"] as const;
export type GlobalKind = (typeof GLOBAL_KINDS)[number];

/** Types of an object's maps and global variables: what a generated module carries, and what open() compares. */
export interface ObjectModel {
  readonly maps: Readonly<Record<string, MapModel>>;
  readonly rodata: Readonly<Record<string, TypeModel>>;
  readonly data: Readonly<Record<string, TypeModel>>;
  readonly bss: Readonly<Record<string, TypeModel>>;
}

/** Compilers name a function's static variables `function.variable`: they are not for others. */
const IDENTIFIER = /^[A-Za-z_]\w*$/;

/** The sections of one kind: `.rodata` and `.rodata.hot`, but not what only the compiler fills (`.rodata.str1.1`). */
export const sectionsOf = (btf: Btf, kind: GlobalKind): string[] =>
  btf.datasecs().filter((name) => name === `.${kind}` || name.startsWith(`.${kind}.`));

function globals(btf: Btf, kind: GlobalKind): Record<string, TypeModel> {
  const variables = sectionsOf(btf, kind).flatMap((section) => btf.datasec(section).variables);
  return Object.fromEntries(
    sorted(variables)
      .filter(({ name }) => IDENTIFIER.test(name))
      .map(({ name, typeId }) => [name, modelOf(btf, typeId)]),
  );
}

/** @throws InvalidObjectError */
export function objectModel(btf: Btf): ObjectModel {
  return {
    maps: Object.fromEntries(mapModels(btf)),
    rodata: globals(btf, "rodata"),
    data: globals(btf, "data"),
    bss: globals(btf, "bss"),
  };
}
