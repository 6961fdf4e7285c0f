import { possibleCpus } from "./cpus.js";
import { readInfo, readName } from "./info.js";
import { native } from "./native.js";

/** What the kernel has to be told to make a map. Sizes in bytes. */
export interface MapShape {
  readonly name: string;
  /** enum bpf_map_type (linux/bpf.h). */
  readonly type: number;
  readonly keySize: number;
  readonly valueSize: number;
  readonly maxEntries: number;
  /** BPF_F_* of map creation. */
  readonly flags: number;
}

/** What the kernel says about a map (struct bpf_map_info). */
export interface MapInfo extends MapShape {
  readonly id: number;
}

/** Some of enum bpf_map_type. */
export const MapType = {
  hash: 1,
  array: 2,
  perCpuHash: 5,
  perCpuArray: 6,
  lruHash: 9,
  lruPerCpuHash: 10,
  lpmTrie: 11,
  arrayOfMaps: 12,
  hashOfMaps: 13,
  ringBuffer: 27,
} as const;

const PER_CPU_TYPES: ReadonlySet<number> = new Set([
  MapType.perCpuHash,
  MapType.perCpuArray,
  MapType.lruPerCpuHash,
  21, // BPF_MAP_TYPE_PERCPU_CGROUP_STORAGE
]);

/** Whether a value of this map has one slice a CPU. */
export const isPerCpu = (shape: MapShape): boolean => PER_CPU_TYPES.has(shape.type);

/** Bytes of one CPU's slice as the kernel copies it: the value size rounded up to 8. */
export const sliceStride = (shape: MapShape): number => Math.ceil(shape.valueSize / 8) * 8;

/** Bytes that one value takes in a lookup, update or batch: all slices of a per-CPU value. */
export const valueStride = (shape: MapShape): number =>
  isPerCpu(shape) ? sliceStride(shape) * possibleCpus() : shape.valueSize;

/** The type's name as libbpf and bpftool print it ("array", "percpu_hash"). */
export const mapTypeName = (type: number): string => native().mapTypeName(type) ?? `type ${type}`;

/** sizeof(struct bpf_map_info) up to map_flags and name. */
const INFO_BYTES = 40;

export function readMapInfo(fd: number): MapInfo {
  const info = readInfo(fd, INFO_BYTES, "a map");
  return {
    type: info.readUInt32LE(0),
    id: info.readUInt32LE(4),
    keySize: info.readUInt32LE(8),
    valueSize: info.readUInt32LE(12),
    maxEntries: info.readUInt32LE(16),
    flags: info.readUInt32LE(20),
    name: readName(info, 24, 16),
  };
}
