import { BpfObject } from "libbpf-ts";
import { openClassifier } from "../backends/classifier.js";
import { compile, type Generation } from "../compiler/compile.js";
import type { Family, Policy } from "../config/policy.js";
import { bpfObjectPath } from "../sys/paths.js";
import { BENCH_DEVICES } from "./cases.js";
import type { Keys } from "./keys.js";
import { type Filler, fillHash, fillLpm, fillRules, fillStrides, fillTuples } from "./peers.js";

/** enum subject in bpf/bench_classify.bpf.c. */
const NUMBER = {
  loop: 0,
  "xfrm-steer": 1,
  lpm_trie: 2,
  hash: 3,
  linear: 4,
  tss: 5,
  stride_16_8_8: 6,
} as const;
export type SubjectName = keyof typeof NUMBER;

const FILLERS: Partial<Record<SubjectName, (policy: Policy) => Filler>> = {
  lpm_trie: fillLpm,
  hash: fillHash,
  linear: fillRules,
  stride_16_8_8: fillStrides,
  tss: fillTuples,
};

const SKB_SIZE = 192;
const SKB_CB = 48;
const PACKET = new Uint8Array(64);

/** One way to classify, loaded into the kernel with a rule set and keys. */
export class Subject {
  readonly name: SubjectName;
  /** Of its tables; peers: of keys and values, without the map's own overhead. */
  readonly bytes: number;
  readonly buildMs: number;
  /** Ours: what it runs. */
  readonly generation: Generation | null;
  readonly #object: BpfObject;
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
      rodata.set("subject", NUMBER[name]);
      rodata.set("family", family);
      rodata.set("n_keys", keys.count);
      const packed = pack(keys, policy);
      rodata.set("dst_only", packed === keys.words ? 0 : 1);
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
  setKeys(keys: Keys, policy: Policy): void {
    this.#object.map("keys").update(0, pack(keys, policy));
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

/** The destinations alone where nothing else is looked at. */
function pack({ count, stride, words }: Keys, { rules, flows }: Policy): Uint32Array {
  if (rules.length > 0 || flows.exact4.proto.length > 0) return words;
  const size = stride === 8 ? 1 : 4;
  const packed = new Uint32Array(count * size);
  for (let i = 0; i < count; i++)
    for (let w = 0; w < size; w++) packed[i * size + w] = words[i * stride + size + w] as number;
  return packed;
}
