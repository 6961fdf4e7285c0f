import type { Btf } from "../btf.js";
import type { BtfTypeOf, RawMember } from "../btf-types.js";
import { InvalidObjectError, UnknownNameError } from "../errors.js";
import { Codec } from "./codec.js";
import type { ByteOrder, FieldModel, TypeModel } from "./model.js";

/** linux/types.h: sparse's byte-order types, which BTF keeps by name. */
const ORDERED_TYPEDEF = /^__(be|le)(16|32|64)$/;
/** What a member says of itself: `__attribute__((btf_decl_tag("big_endian")))`. */
const ORDER_TAGS: Readonly<Record<string, ByteOrder>> = { big_endian: "big", little_endian: "little" };
/** The kernel keeps them: zero to whoever looks up, left alone by updates (kernel/bpf/btf.c, btf_parse_fields). */
const KERNEL_OWNED: ReadonlySet<string> = new Set([
  "bpf_spin_lock",
  "bpf_res_spin_lock",
  "bpf_timer",
  "bpf_wq",
  "bpf_list_head",
  "bpf_list_node",
  "bpf_rb_root",
  "bpf_rb_node",
  "bpf_refcount",
]);

const tagsOf = new WeakMap<Btf, Map<string, ByteOrder>>();

/** Byte orders by decl tag, under "type number:member index". */
function orderTags(btf: Btf): Map<string, ByteOrder> {
  const known = tagsOf.get(btf);
  if (known !== undefined) return known;
  const tags = new Map<string, ByteOrder>();
  for (const type of btf.types) {
    const order = type.kind === "declTag" ? ORDER_TAGS[type.name] : undefined;
    if (type.kind === "declTag" && order !== undefined) tags.set(`${type.type}:${type.component}`, order);
  }
  tagsOf.set(btf, tags);
  return tags;
}

/** Typedefs and qualifiers: types that are another one under a name or a promise. */
type Alias = BtfTypeOf<"typedef" | "const" | "volatile" | "restrict" | "typeTag">;
const ALIASES: ReadonlySet<string> = new Set(["typedef", "const", "volatile", "restrict", "typeTag"]);

/** The typedefs on the way from a type to what it resolves to; resolve() has found that there is no cycle. */
function* typedefs(btf: Btf, id: number): Generator<string> {
  for (let type = btf.types[id]; type !== undefined && ALIASES.has(type.kind); ) {
    if (type.kind === "typedef") yield type.name;
    type = btf.types[(type as Alias).type];
  }
}

/** The byte order that a typedef on the way to the type names. */
function typedefOrder(btf: Btf, id: number): ByteOrder | undefined {
  for (const name of typedefs(btf, id)) {
    const order = ORDERED_TYPEDEF.exec(name)?.[1];
    if (order !== undefined) return order === "be" ? "big" : "little";
  }
  return undefined;
}

/**
 * The model of a BTF type.
 * @param order of its integers, where a tag of the member says one
 * @throws InvalidObjectError for what has no size (functions, forward declarations) or contains itself
 */
export function modelOf(btf: Btf, id: number, order?: ByteOrder): TypeModel {
  return build(btf, id, order, 0);
}

/** Deeper than any C compiler lets types be; a type that contains itself does not end before. */
const DEEPEST = 64;

function build(btf: Btf, id: number, order: ByteOrder | undefined, depth: number): TypeModel {
  if (depth > DEEPEST) throw new InvalidObjectError("read BTF", `type ${id} contains itself`);
  const type = btf.resolve(id); // throws for a cycle of typedefs, before typedefOrder walks them
  const ownOrder = order ?? typedefOrder(btf, id);
  switch (type.kind) {
    case "int":
      if (type.bool) return { kind: "bool", size: type.size };
      return { kind: "int", size: type.size, signed: type.signed, order: ownOrder ?? "little" };
    case "float":
      return { kind: "float", size: type.size };
    case "ptr":
      return { kind: "pointer", size: 8 };
    case "enum":
      return { kind: "enum", name: tagName(btf, id), size: type.size, signed: type.signed };
    case "array": {
      const element = btf.resolve(type.type);
      if (element.kind === "int" && element.name === "char") return { kind: "text", size: type.length };
      const model = build(btf, type.type, ownOrder, depth + 1);
      return { kind: "array", size: model.size * type.length, length: type.length, element: model };
    }
    case "struct":
    case "union":
      if (KERNEL_OWNED.has(type.name))
        return { kind: "struct", name: type.name, size: type.size, fields: [] };
      return composite(btf, id, type, depth);
    default:
      throw new InvalidObjectError("read BTF", `${btf.typeName(id)} (${type.kind}) has no values`);
  }
}

/** A tag, or the typedef's name of what has none (`typedef struct {...} name`). */
function tagName(btf: Btf, id: number): string {
  return btf.resolve(id).name || [...typedefs(btf, id)].at(-1) || "";
}

function composite(btf: Btf, id: number, type: BtfTypeOf<"struct" | "union">, depth: number): TypeModel {
  const number = btf.types.indexOf(type);
  const fields = type.members.flatMap((member, index): FieldModel[] => {
    const order = orderTags(btf).get(`${number}:${index}`);
    const model = build(btf, member.type, order, depth + 1);
    // A bit field without a name is padding.
    if (member.name === "" && model.kind !== "struct" && model.kind !== "union") return [];
    return [place(member, model)];
  });
  return { kind: type.kind, name: tagName(btf, id), size: type.size, fields };
}

/** LLVM marks a bit field either by the struct's flag and a width, or by an offset that is no multiple of 8. */
function place(member: RawMember, model: TypeModel): FieldModel {
  const offset = Math.floor(member.bitOffset / 8);
  const shift = member.bitOffset % 8;
  if (member.bits === 0 && shift === 0) return { name: member.name, offset, type: model };
  const width = member.bits || model.size * 8;
  return { name: member.name, offset, bits: { shift, width }, type: model };
}

/**
 * The codec of a struct, union or enum by its tag or typedef, for want of a generated module, which has it with its type.
 * @throws UnknownNameError, InvalidObjectError
 */
// biome-ignore lint/suspicious/noExplicitAny: as with JSON.parse, only the caller knows the type; generated modules do
export function structCodec<T = any>(btf: Btf, name: string): Codec<T> {
  const kinds = ["struct", "union", "enum", "typedef"];
  const id = btf.types.findIndex((type) => type.name === name && kinds.includes(type.kind));
  if (id < 0) {
    const known = btf.types.filter((type) => type.kind === "struct" && type.name !== "");
    throw new UnknownNameError("read BTF", "type", name, known.map((type) => type.name).slice(0, 50));
  }
  return new Codec<T>(modelOf(btf, id));
}
