import { isDeepStrictEqual } from "node:util";
import {
  be16,
  be32,
  be64,
  bool,
  type CompositeModel,
  type FieldModel,
  pointer,
  s8,
  s16,
  s32,
  s64,
  type TypeModel,
  u8,
  u16,
  u32,
  u64,
} from "../types/model.js";
import { type Names, pascalCase } from "./names.js";

/** Scalars that have a name in libbpf-ts. */
const SCALARS = Object.entries({ u8, u16, u32, u64, s8, s16, s32, s64, be16, be32, be64, bool, pointer });

/** What is read is always whole; what is written gives one member of each union. */
type Mode = "read" | "input";

/** Writes types as TypeScript: what values look like, and the model as an expression. */
export class TypeText {
  readonly #names: Names;

  constructor(names: Names) {
    this.#names = names;
  }

  /** Name of a named struct, union or enum; undefined for what has none. */
  nameOf(type: TypeModel): string | undefined {
    if (type.kind !== "struct" && type.kind !== "union" && type.kind !== "enum") return undefined;
    return type.name === "" ? undefined : this.#names.of(JSON.stringify(type), pascalCase(type.name));
  }

  /** The JavaScript value of a type. */
  value(type: TypeModel, mode: Mode): string {
    const name = this.nameOf(type);
    if (name !== undefined) return mode === "input" && hasUnion(type) ? `${name}Input` : name;
    switch (type.kind) {
      case "int":
      case "enum":
      case "pointer":
        return type.size > 4 ? "bigint" : "number";
      case "bool":
        return "boolean";
      case "float":
        return "number";
      case "text":
        return "string";
      case "bytes":
        return "Uint8Array";
      case "array":
        return typedArray(type.element) ?? `${parenthesised(this.value(type.element, mode))}[]`;
      default:
        return mode === "read" ? block(this.fields(type)) : this.input(type);
    }
  }

  /** All fields of a struct or union as they are read, those of anonymous members among them. */
  fields(type: CompositeModel): string[] {
    return type.fields.flatMap((field) => {
      if (field.name === "") return this.fields(field.type as CompositeModel);
      return isHidden(field) ? [] : [`${field.name}: ${this.value(field.type, "read")}`];
    });
  }

  /** What writing a struct or union takes: all fields, and of a union one member and no other. */
  input(type: CompositeModel): string {
    if (type.kind === "union") return this.#oneOf(type);
    const own = type.fields.filter((field) => field.name !== "" && !isHidden(field));
    const inner = type.fields.filter((field) => field.name === "");
    return [
      block(own.map((field) => `${field.name}: ${this.value(field.type, "input")}`)),
      ...inner.map((field) => parenthesised(this.input(field.type as CompositeModel))),
    ].join(" & ");
  }

  #oneOf(union: CompositeModel): string {
    const all = union.fields.flatMap(fieldNames);
    return union.fields
      .map((field) => {
        const mine = fieldNames(field);
        const others = all.filter((name) => !mine.includes(name)).map((name) => `${name}?: undefined`);
        if (field.name !== "") return block([`${field.name}: ${this.value(field.type, "input")}`, ...others]);
        return `${parenthesised(this.input(field.type as CompositeModel))} & ${block(others)}`;
      })
      .map(parenthesised)
      .join(" | ");
  }

  /** The model as an expression; a named type is referred to unless it is the one that is being defined. */
  model(type: TypeModel, isDefinition = false): string {
    const scalar = SCALARS.find(([, model]) => isDeepStrictEqual(model, type));
    if (scalar !== undefined) return `bpf.${scalar[0]}`;
    switch (type.kind) {
      case "bytes":
      case "text":
        return `bpf.${type.kind}(${type.size})`;
      case "array":
        return `bpf.array(${this.model(type.element)}, ${type.length})`;
      case "struct":
      case "union": {
        const name = isDefinition ? undefined : this.nameOf(type);
        if (name !== undefined) return `${name}.type`;
        const fields = type.fields.map((field) => {
          const bits = field.bits === undefined ? "" : `, bits: ${JSON.stringify(field.bits)}`;
          return `{ name: "${field.name}", offset: ${field.offset}${bits}, type: ${this.model(field.type)} }`;
        });
        const head = `kind: "${type.kind}", name: "${type.name}", size: ${type.size}`;
        return `{ ${head}, fields: [${fields.join(", ")}] }`;
      }
      default:
        return JSON.stringify(type);
    }
  }
}

/** Whether a union is somewhere in a type, so that reading and writing it differ. */
export function hasUnion(type: TypeModel): boolean {
  if (type.kind === "array") return hasUnion(type.element);
  if (type.kind === "union") return true;
  return type.kind === "struct" && type.fields.some((field) => hasUnion(field.type));
}

/** The kernel's own fields (a spin lock) are no part of a value. */
const isHidden = (field: FieldModel): boolean =>
  field.type.kind === "struct" && field.type.fields.length === 0;

function fieldNames(field: FieldModel): string[] {
  if (field.name !== "") return isHidden(field) ? [] : [field.name];
  return (field.type as CompositeModel).fields.flatMap(fieldNames);
}

const block = (members: readonly string[]): string =>
  members.length === 0 ? "{}" : `{ ${members.map((member) => `${member};`).join(" ")} }`;

const parenthesised = (text: string): string => (/^\w+$/.test(text) ? text : `(${text})`);

function typedArray(element: TypeModel): string | undefined {
  if (element.kind !== "int" || element.size > 8) return undefined;
  const big = element.size === 8 ? "Big" : "";
  return `${big}${element.signed ? "Int" : "Uint"}${element.size * 8}Array`;
}
