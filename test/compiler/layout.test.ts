import test from "ava";
import { ClassifierObject } from "../../src/bpf/classifier.bpf.js";
import { EntrySize } from "../../src/compiler/table.js";

test("every table has entries of the size that the program's map declares", (t) => {
  const declared = Object.keys(EntrySize).map((name) => {
    const map = ClassifierObject.model.maps[name];
    return [name, map?.kind === "map" ? map.value.size : undefined];
  });
  t.deepEqual(Object.fromEntries(declared), { ...EntrySize });
});
