/** Byte order of a scalar in memory. */
export type ByteOrder = "little" | "big";

/** A member of a struct or union. */
export interface FieldModel {
  /** "" for an anonymous struct or union: its fields are the outer's. */
  readonly name: string;
  /** Bytes from the start of the struct that has it; for a bit field those of its first bit, rounded down. */
  readonly offset: number;
  /** Of a bit field: where it begins, counted in bits from `offset`, and its width. */
  readonly bits?: { readonly shift: number; readonly width: number };
  readonly type: TypeModel;
}

export interface CompositeModel {
  readonly kind: "struct" | "union";
  /** The C tag, or "" where it has none. */
  readonly name: string;
  readonly size: number;
  readonly fields: readonly FieldModel[];
}

export interface EnumModel {
  readonly kind: "enum";
  readonly name: string;
  readonly size: number;
  readonly signed: boolean;
}

/**
 * A C type as keys, values and globals need it: typedefs, qualifiers and pointees resolved, plain data, so that a
 * generated module can carry it. Sizes in bytes.
 */
export type TypeModel =
  | { readonly kind: "int"; readonly size: number; readonly signed: boolean; readonly order: ByteOrder }
  | { readonly kind: "bool"; readonly size: number }
  | { readonly kind: "float"; readonly size: number }
  | { readonly kind: "pointer"; readonly size: number }
  | EnumModel
  /** char[]: text up to the first NUL, UTF-8. */
  | { readonly kind: "text"; readonly size: number }
  /** Bytes that BTF says nothing about. */
  | { readonly kind: "bytes"; readonly size: number }
  | { readonly kind: "array"; readonly size: number; readonly length: number; readonly element: TypeModel }
  | CompositeModel;

const int = (size: number, signed: boolean, order: ByteOrder = "little"): TypeModel => ({
  kind: "int",
  size,
  signed,
  order,
});

// Names for the commonest types, so that generated modules read well.
export const u8 = int(1, false);
export const u16 = int(2, false);
export const u32 = int(4, false);
export const u64 = int(8, false);
export const s8 = int(1, true);
export const s16 = int(2, true);
export const s32 = int(4, true);
export const s64 = int(8, true);
export const be16 = int(2, false, "big");
export const be32 = int(4, false, "big");
export const be64 = int(8, false, "big");
export const bool: TypeModel = { kind: "bool", size: 1 };
export const pointer: TypeModel = { kind: "pointer", size: 8 };
export const bytes = (size: number): TypeModel => ({ kind: "bytes", size });
export const text = (size: number): TypeModel => ({ kind: "text", size });
export const array = (element: TypeModel, length: number): TypeModel => ({
  kind: "array",
  size: element.size * length,
  length,
  element,
});
