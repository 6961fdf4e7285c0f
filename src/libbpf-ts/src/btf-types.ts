/** BTF_KIND_* (linux/btf.h). */
export const Kind = {
  void: 0,
  int: 1,
  ptr: 2,
  array: 3,
  struct: 4,
  union: 5,
  enum: 6,
  fwd: 7,
  typedef: 8,
  volatile: 9,
  const: 10,
  restrict: 11,
  func: 12,
  funcProto: 13,
  var: 14,
  datasec: 15,
  float: 16,
  declTag: 17,
  typeTag: 18,
  enum64: 19,
} as const;

interface Named {
  /** "" for what has no name. */
  readonly name: string;
}

/** A member as BTF stores it; `bits` is 0 unless it is a bit field. */
export interface RawMember extends Named {
  readonly type: number;
  readonly bitOffset: number;
  readonly bits: number;
}

interface Reference<K> {
  readonly kind: K;
  readonly type: number;
}

interface Composite<K> {
  readonly kind: K;
  readonly size: number;
  readonly members: readonly RawMember[];
}

interface Integer {
  readonly kind: "int";
  readonly size: number;
  readonly bits: number;
  readonly signed: boolean;
  readonly bool: boolean;
}

/** BTF's ENUM and ENUM64 alike. */
interface Enumeration {
  readonly kind: "enum";
  readonly size: number;
  readonly signed: boolean;
  readonly values: ReadonlyMap<string, bigint>;
}

/** A type as BTF stores it. Type numbers refer to other types of the same BTF; sizes are bytes. */
export type BtfType = Named &
  (
    | { readonly kind: "void" }
    | Integer
    | { readonly kind: "float"; readonly size: number }
    | Reference<"ptr">
    | Reference<"typedef">
    | Reference<"volatile">
    | Reference<"const">
    | Reference<"restrict">
    | Reference<"typeTag">
    | { readonly kind: "array"; readonly type: number; readonly length: number }
    | Composite<"struct">
    | Composite<"union">
    | Enumeration
    | { readonly kind: "fwd" }
    | { readonly kind: "func"; readonly type: number; readonly linkage: Linkage }
    | { readonly kind: "funcProto"; readonly returns: number; readonly params: readonly Param[] }
    | { readonly kind: "var"; readonly type: number; readonly linkage: Linkage }
    | { readonly kind: "datasec"; readonly size: number; readonly variables: readonly RawVariable[] }
    | { readonly kind: "declTag"; readonly type: number; readonly component: number }
  );

export type BtfTypeOf<K extends BtfType["kind"]> = Extract<BtfType, { kind: K }>;

/** enum btf_func_linkage and BTF_VAR_*: both count static, global, extern. */
export type Linkage = "static" | "global" | "extern";

export interface Param extends Named {
  readonly type: number;
}

/** A variable's place in its section: `type` is the number of its "var". */
export interface RawVariable {
  readonly type: number;
  readonly offset: number;
  readonly size: number;
}
