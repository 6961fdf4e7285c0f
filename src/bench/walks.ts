/** Keys that cost the classifier most: those whose walks through the trees of rules are longest. */
import { KeyWord, Slot } from "../bpf/tables.bpf.js";
import type { Generation } from "../compiler/compile.js";
import { SlotHigh } from "../compiler/tree.js";
import type { Keys } from "./keys.js";

/** Of the keys given, so many: enough that the caches do not hold what they read. */
const KEPT = 1 / 8;
/** Where the words of an IPv4 key of the bench's stand in a packet's key. */
const WORDS = [
  KeyWord.KEY_SRC,
  KeyWord.KEY_DST,
  KeyWord.KEY_PORTS,
  KeyWord.KEY_PROTO,
  KeyWord.KEY_MARK,
  KeyWord.KEY_IIF,
  KeyWord.KEY_MORE,
];

/** The eighth of the IPv4 keys with the longest walks, over and over, to as many keys. */
export function longestWalks(generation: Generation, keys: Keys): Keys {
  const lengths = new Uint32Array(keys.count);
  const word = new Uint32Array(KeyWord.KEY_WORDS);
  const slots = new Uint32Array(generation.tables.slots.slice().buffer);
  for (let i = 0; i < keys.count; i++) {
    WORDS.forEach((to, from) => {
      word[to] = keys.words[i * keys.stride + from] as number;
    });
    lengths[i] = walkLength(slots, generation.ruleTrees4, word);
  }
  const order = Uint32Array.from(lengths.keys()).sort(
    (a, b) => (lengths[b] as number) - (lengths[a] as number),
  );
  const kept = Math.ceil(keys.count * KEPT);
  const words = new Uint32Array(keys.words.length);
  for (let i = 0; i < keys.count; i++) {
    const from = (order[i % kept] as number) * keys.stride;
    words.set(keys.words.subarray(from, from + keys.stride), i * keys.stride);
  }
  return { ...keys, words };
}

/**
 * Slots and rules that a packet reads that no rule matches.
 *
 * @param slots two 32-bit words each, low first
 * @param word the packet's key
 */
export function walkLength(
  slots: Uint32Array,
  { root, count }: Generation["ruleTrees4"],
  word: Uint32Array,
): number {
  let length = 0;
  for (let tree = root; tree < root + count; tree++) {
    let at = tree;
    for (;;) {
      length++;
      const low = slots[2 * at] as number;
      const high = slots[2 * at + 1] as number;
      if (high >>> SlotHigh.leaf) {
        length += (high >>> SlotHigh.count) & Slot.SLOT_COUNT_MAX;
        break;
      }
      const width = (high >>> SlotHigh.width) & 31;
      const child = (word[(high >>> SlotHigh.word) & 15] as number) >>> ((low >>> Slot.SLOT_SHIFT) & 31);
      at = (low & (2 ** Slot.SLOT_BASE_BITS - 1)) + (child & (2 ** width - 1));
    }
  }
  return length;
}
