import type { Btf } from "../btf.js";
import { UnknownNameError } from "../errors.js";
import { GLOBAL_KINDS, sectionsOf } from "../typed/object-model.js";
import { sorted } from "../typed/sorted.js";

/**
 * Numbers of the named structs, unions and enums that maps and global variables lead to, what a type is made
 * of before the type itself. A type that only code uses is reached by a global pointer to it
 * (`struct event *unused_event;`) or by its name in `extra`; pointers within types are not followed, as they lead all
 * over the kernel.
 * @throws UnknownNameError for a name in `extra` that the object does not know
 */
export function reachableTypes(btf: Btf, extra: readonly string[]): number[] {
  const seen = new Set<number>();
  const found: number[] = [];
  const visit = (id: number): void => {
    if (seen.has(id)) return;
    seen.add(id);
    const type = btf.types[id];
    switch (type?.kind) {
      case "typedef": {
        visit(type.type);
        const target = btf.types[type.type];
        const isComposite = target?.kind === "struct" || target?.kind === "union" || target?.kind === "enum";
        if (isComposite && target.name === "") found.push(id); // its only name
        break;
      }
      case "const":
      case "volatile":
      case "restrict":
      case "typeTag":
      case "array":
        visit(type.type);
        break;
      case "struct":
      case "union":
        for (const member of type.members) visit(member.type);
        if (type.name !== "") found.push(id);
        break;
      case "enum":
        if (type.name !== "") found.push(id);
        break;
      default: // scalars lead nowhere
    }
  };
  for (const { typeId } of btf.datasecs().includes(".maps") ? sorted(btf.datasec(".maps").variables) : []) {
    visitMap(btf, typeId, visit);
  }
  for (const kind of GLOBAL_KINDS) {
    for (const section of sectionsOf(btf, kind)) {
      for (const { typeId } of sorted(btf.datasec(section).variables)) {
        const type = btf.resolve(typeId);
        visit(type.kind === "ptr" ? type.type : typeId);
      }
    }
  }
  for (const name of extra) {
    const id = btf.types.findIndex(
      (type) => type.name === name && ["struct", "union", "enum"].includes(type.kind),
    );
    if (id < 0) throw new UnknownNameError("generate a module", "struct, union or enum", name, []);
    visit(id);
  }
  return found;
}

/** A map's definition is a struct of pointers; only its key, value and inner map lead to types of the program. */
function visitMap(btf: Btf, typeId: number, visit: (id: number) => void): void {
  const definition = btf.resolve(typeId);
  if (definition.kind !== "struct") return;
  for (const { name, type } of definition.members) {
    const target = btf.resolve(type);
    if ((name === "key" || name === "value") && target.kind === "ptr") visit(target.type);
    if (name !== "values") continue;
    const pointer = target.kind === "array" ? btf.resolve(target.type) : undefined;
    if (pointer?.kind === "ptr") visitMap(btf, pointer.type, visit);
  }
}
