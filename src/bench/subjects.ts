import { BpfObject } from "libbpf-ts";
import { openClassifier } from "../backends/classifier.js";
import { compile, type Generation } from "../compiler/compile.js";
import type { Family, Policy } from "../config/policy.js";
import { bpfObjectPath } from "../sys/paths.js";
import { BENCH_DEVICES } from "./cases.js";
import type { Keys } from "./keys.js";
import { type Filler, fillHash, fillLpm, fillRules, fillStrides, fillTuples } from "./peers.js";

/** What decides about a policy's keys: their destination alone, an exact flow, rules about the 5-tuple, or any rules. */
type Looked = "address4" | "address6" | "flow" | "tuple" | "packet";

/** enum subject in bpf/bench_classify.bpf.c, by subject and what it looks at. */
const NUMBER = {
  "xfrm-steer": { address4: 0, address6: 1, flow: 2, tuple: 3, packet: 4 },
  lpm_trie: { address4: 5, address6: 6 },
  stride_16_8_8: { address4: 7 },
  hash: { address4: 8, flow: 9 },
  linear: { tuple: 10 },
  tss: { tuple: 11 },
} as const satisfies Record<string, Partial<Record<Looked, number>>>;
export type SubjectName = keyof typeof NUMBER;

const FILLERS: Partial<Record<SubjectName, (policy: Policy) => Filler>> = {
  lpm_trie: fillLpm,
  hash: fillHash,
  linear: fillRules,
  stride_16_8_8: fillStrides,
  tss: fillTuples,
};

/** Of the words of an IPv4 key: src, dst, ports, proto, ported. */
const TUPLE = [0, 1, 2, 3, 7];

const SKB_SIZE = 192;
const SKB_CB = 48;
const PACKET = new Uint8Array(64);

/** One way to classify, loaded into the kernel with a rule set and keys, a power of two of them. */
export class Subject {
  readonly name: SubjectName;
  /** Of its tables; peers: of keys and values, without the map's own overhead. */
  readonly bytes: number;
  readonly buildMs: number;
  /** Ours: what it runs. */
  readonly generation: Generation | null;
  readonly #object: BpfObject;
  readonly #looked: Looked;
  /** Keys to look up in a run, at most as many as there are. */
  passes: number;

  constructor(name: SubjectName, policy: Policy, family: Family, keys: Keys) {
    this.name = name;
    this.passes = keys.count;
    const started = performance.now();
    const filler = FILLERS[name]?.(policy);
    this.generation = name === "xfrm-steer" ? compile(policy, BENCH_DEVICES) : null;
    this.buildMs = performance.now() - started;
    const path = bpfObjectPath("bench_classify");
    this.#object = this.generation ? openClassifier(path, this.generation) : BpfObject.open(path);
    try {
      const { rodata } = this.#object;
      const looked = lookedAt(policy, family);
      rodata.set("subject", subjectNumber(name, looked));
      rodata.set("keys_mask", keys.count - 1);
      const packed = pack(keys, looked);
      this.#looked = looked;
      this.#object.map("keys").setValueSize(packed.byteLength);
      filler?.before(this.#object);
      this.#object.load();
      filler?.after(this.#object);
      this.#object.map("keys").update(0, packed);
      this.bytes = this.generation
        ? Object.values(this.generation.tables).reduce((sum, { length }) => sum + length, 0)
        : (filler?.bytes ?? 0);
    } catch (error) {
      this.#object.close();
      throw error;
    }
  }

  /** Puts other keys, as many, in place. */
  setKeys(keys: Keys): void {
    this.#object.map("keys").update(0, pack(keys, this.#looked));
  }

  /** ns a key; `sum` depends on every answer. */
  run(): { ns: number; sum: bigint } {
    const ctx = new Uint8Array(SKB_SIZE);
    new DataView(ctx.buffer).setUint32(SKB_CB, this.passes, true);
    this.#object.program("bench").testRun({ data: PACKET, ctx });
    const elapsed = this.#object.bss.get("elapsed") as bigint;
    return { ns: Number(elapsed) / this.passes, sum: this.#object.bss.get("sum") as bigint };
  }

  close(): void {
    this.#object.close();
  }
}

function lookedAt({ rules, flows }: Policy, family: Family): Looked {
  if (rules.some(({ match }) => match.mark.length + match.iif.length > 0)) return "packet";
  if (rules.length > 0) return "tuple";
  return flows.exact4.proto.length > 0 ? "flow" : `address${family}`;
}

function subjectNumber(name: SubjectName, looked: Looked): number {
  const numbers: Partial<Record<Looked, number>> = NUMBER[name];
  const number = numbers[looked];
  if (number === undefined) throw new RangeError(`${name} cannot look up a key by its ${looked}`);
  return number;
}

/** The destinations or the 5-tuples alone where nothing else is looked at: a million whole keys would drive the tables from the caches. */
function pack({ count, stride, words }: Keys, looked: Looked): Uint32Array {
  if (looked === "packet") return words;
  const size = stride === 8 ? 1 : 4;
  const wanted = /^address/.test(looked) ? Array.from({ length: size }, (_, w) => size + w) : TUPLE;
  const packed = new Uint32Array(count * wanted.length);
  for (let i = 0; i < count; i++)
    for (let w = 0; w < wanted.length; w++)
      packed[i * wanted.length + w] = words[i * stride + (wanted[w] as number)] as number;
  return packed;
}
