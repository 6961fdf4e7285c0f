export { attachCgroup, CgroupAttachType } from "./attach/cgroup.js";
export {
  attachClsact,
  ClsactFilter,
  type ClsactOptions,
  type ClsactPlace,
  findClsact,
  removeClsact,
} from "./attach/clsact.js";
export { BpfLink, type LinkInfo } from "./attach/link.js";
export { attachNetns } from "./attach/netns.js";
export { attach, readIterator } from "./attach/section.js";
export { type AttachTcOptions, attachTc, findTc } from "./attach/tc.js";
export type { TcDirection, TcLink } from "./attach/tc-link.js";
export { attachTcx, TcxLink, type TcxOptions, type TcxOrder } from "./attach/tcx.js";
export { attachXdp, type XdpOptions } from "./attach/xdp.js";
export { BPFFS, ensureBpffs } from "./bpffs.js";
export {
  Btf,
  type BtfDatasec,
  type BtfEnum,
  type BtfMember,
  type BtfStruct,
  type BtfVariable,
} from "./btf.js";
export { dumpBtf } from "./btf-dump.js";
export type { BtfType, BtfTypeOf } from "./btf-types.js";
export { possibleCpus } from "./cpus.js";
export type { ElfSection } from "./elf.js";
export {
  ArgumentError,
  BpfError,
  ClosedError,
  InvalidObjectError,
  MissingBtfError,
  MissingFeatureError,
  MissingLibraryError,
  MissingRightsError,
  StateError,
  UnknownNameError,
} from "./errors.js";
export { type GenerateOptions, generateModule } from "./gen/generate.js";
export type { Globals, GlobalValue } from "./globals.js";
export type { SourceLine } from "./line-info.js";
export { BpfMap, type MapKey, UpdateFlag } from "./map.js";
export type { MapBatch } from "./map-batch.js";
export { type MapInfo, type MapShape, MapType } from "./map-shape.js";
export { MappedArray } from "./mapped-array.js";
export { BpfObject, type OpenOptions } from "./object.js";
export type { ObjectMap } from "./object-map.js";
export type { ObjectProgram } from "./object-program.js";
export { unpin } from "./pin.js";
export { features } from "./probe/features.js";
export { BpfProgram, type ProgramInfo } from "./program.js";
export type { Scalar } from "./scalar.js";
export { LinkError, linkObjects } from "./static-linker.js";
export { type ConsumeOptions, EventStream } from "./streams/event-stream.js";
export { PerfBuffer, type PerfBufferOptions, type PerfEvent } from "./streams/perf-buffer.js";
export { RingBuffer } from "./streams/ring-buffer.js";
export type { TestRunOptions, TestRunResult } from "./test-run.js";
export { KeyedMap } from "./typed/keyed-map.js";
export type { MapModel } from "./typed/map-definition.js";
export { type ObjectModel, objectModel } from "./typed/object-model.js";
export { type AnyTypedMap, TypedMap, TypedMapOfMaps, TypedPerCpuMap, typedMap } from "./typed/typed-map.js";
export { defineObject, type ObjectModule, type ObjectTypes, TypedObject } from "./typed/typed-object.js";
export * from "./types/index.js";
export { VerifierError } from "./verifier-log.js";
