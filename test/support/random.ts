import { SeededRandom } from "../../src/bench/random.js";

/** What a test draws; it prints its seed, so that a failing run can be had again. */
export class Random extends SeededRandom {
  chance(oneIn: number): boolean {
    return this.below(oneIn) === 0;
  }

  pick<T>(list: readonly T[]): T {
    return list[this.below(list.length)] as T;
  }

  list<T>(length: number, make: (index: number) => T): T[] {
    return Array.from({ length }, (_, index) => make(index));
  }
}
