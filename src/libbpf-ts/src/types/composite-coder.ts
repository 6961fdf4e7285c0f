import { ArgumentError } from "../errors.js";
import { type Coder, coderOf } from "./coder.js";
import { bitFieldCoder, refuse } from "./integer-coder.js";
import type { CompositeModel, FieldModel } from "./model.js";

type Fields = Record<string, unknown>;

/** One field, or the fields of an anonymous struct or union, as part of the object around it. */
interface Part {
  /** Names that it takes of the object. */
  readonly names: readonly string[];
  read(view: DataView, at: number, into: Fields): void;
  write(view: DataView, at: number, from: Fields, path: string): void;
}

function partOf(field: FieldModel): Part {
  const { name, offset, bits, type } = field;
  if (name === "") {
    const inner = partsOf(type as CompositeModel);
    return {
      names: inner.names,
      read: (view, at, into) => inner.read(view, at + offset, into),
      write: (view, at, from, path) => inner.write(view, at + offset, from, path),
    };
  }
  const coder = bits === undefined ? coderOf(type) : bitFieldCoder(bits.shift, bits.width, type);
  // What the kernel owns (a lock, a timer) has no fields to give: it is left out of values.
  if (type.kind === "struct" && type.fields.length === 0)
    return { names: [], read: () => undefined, write: () => undefined };
  return {
    names: [name],
    read(view, at, into) {
      into[name] = coder.read(view, at + offset);
    },
    write(view, at, from, path) {
      const value = from[name];
      if (value === undefined)
        throw new ArgumentError(`encode ${path}`, `no field "${name}"`, "give every field");
      coder.write(view, at + offset, value, `${path}.${name}`);
    },
  };
}

function structPart(parts: readonly Part[]): Part {
  return {
    names: parts.flatMap((part) => part.names),
    read(view, at, into) {
      for (const part of parts) part.read(view, at, into);
    },
    write(view, at, from, path) {
      for (const part of parts) part.write(view, at, from, path);
    },
  };
}

/** A union is read as every member and written by the one that is given. */
function unionPart(parts: readonly Part[]): Part {
  const names = parts.flatMap((part) => part.names);
  return {
    names,
    read(view, at, into) {
      for (const part of parts) part.read(view, at, into);
    },
    write(view, at, from, path) {
      const given = parts.filter((part) => part.names.some((name) => from[name] !== undefined));
      const [only] = given;
      if (only === undefined || given.length > 1) {
        const found = `${given.length} members of the union {${names.join(", ")}}`;
        throw new ArgumentError(`encode ${path}`, found, "give exactly one");
      }
      only.write(view, at, from, path);
    },
  };
}

function partsOf(type: CompositeModel): Part {
  const parts = type.fields.map(partOf);
  return type.kind === "struct" ? structPart(parts) : unionPart(parts);
}

export function compositeCoder(type: CompositeModel): Coder {
  const part = partsOf(type);
  const names = new Set(part.names);
  const title = `${type.kind} ${type.name || "<anonymous>"}`;
  return {
    read(view, at) {
      const into: Fields = {};
      part.read(view, at, into);
      return into;
    },
    write(view, at, value, path) {
      if (typeof value !== "object" || value === null) throw refuse(path, value, `the fields of ${title}`);
      for (const name in value) {
        if (!names.has(name)) {
          const hint = `it has ${part.names.join(", ")}`;
          throw new ArgumentError(`encode ${path}`, `${title} has no field "${name}"`, hint);
        }
      }
      part.write(view, at, value as Fields, path);
    },
  };
}
