import { failure } from "./fail.js";
import { lastErrno, mapShared, munmap } from "./libc.js";
import { native, type Pointer } from "./native.js";

/** Where a section's variables lie in this process. */
export interface Memory {
  readonly start: Pointer;
  readonly size: number;
}

/** Memory of the sections with globals: libbpf's initial values until load(), the map's own pages from then on. */
export class SectionMemory {
  readonly #mapped = new Map<Pointer, Memory>();

  /** What load() will give the map; for .rodata it stays right afterwards. */
  initial(map: Pointer): Memory | undefined {
    const size = new BigUint64Array(1);
    const start = native().mapInitialValue(map, size);
    return start === null ? undefined : { start, size: Number(size[0]) };
  }

  /** The loaded map's pages: what is written there, the program reads. libbpf makes such maps BPF_F_MMAPABLE. */
  live(map: Pointer): Memory {
    const known = this.#mapped.get(map);
    if (known !== undefined) return known;
    const size = native().mapValueSize(map);
    const start = mapShared(native().mapFd(map), size);
    if (start === undefined) {
      const hint = "global variables can be mapped since Linux 5.5";
      throw failure(`map the variables of ${native().mapName(map)} into memory`, lastErrno(), { hint });
    }
    const memory = { start, size };
    this.#mapped.set(map, memory);
    return memory;
  }

  unmap(): void {
    for (const { start, size } of this.#mapped.values()) munmap(start, size);
    this.#mapped.clear();
  }
}
