import { randomBytes } from "node:crypto";
import koffi, { type TypeObject } from "koffi";
import { MissingLibraryError } from "./errors.js";

/** A C pointer as koffi 3 gives it. */
export type Pointer = bigint;
/** Memory that C reads or writes during the call. */
export type Memory = ArrayBufferView | Pointer | null;

/** Opts structures begin with their own size; every field and the tail padding is declared (bpf/bpf.h, bpf/libbpf.h). */
const u32 = "uint32";
const openOpts = koffi.struct({
  sz: "size_t",
  object_name: "const char *",
  relaxed_maps: "bool",
  pin_root_path: "const char *",
  reserved: u32,
  kconfig: "const char *",
  btf_custom_path: "const char *",
  kernel_log_buf: "void *",
  kernel_log_size: "size_t",
  kernel_log_level: u32,
  padding: u32,
});
const testRunOpts = koffi.struct({
  sz: "size_t",
  data_in: "void *",
  data_out: "void *",
  data_size_in: u32,
  data_size_out: u32,
  ctx_in: "void *",
  ctx_out: "void *",
  ctx_size_in: u32,
  ctx_size_out: u32,
  retval: u32,
  repeat: "int",
  duration: u32,
  flags: u32,
  cpu: u32,
  batch_size: u32,
});
const tcHook = koffi.struct({ sz: "size_t", ifindex: "int", attach_point: "int", parent: u32, padding: u32 });
const tcOpts = koffi.struct({
  sz: "size_t",
  prog_fd: "int",
  flags: u32,
  prog_id: u32,
  handle: u32,
  priority: u32,
  padding: u32,
});
const mapCreateOpts = koffi.struct({
  sz: "size_t",
  btf_fd: u32,
  btf_key_type_id: u32,
  btf_value_type_id: u32,
  btf_vmlinux_value_type_id: u32,
  inner_map_fd: u32,
  map_flags: u32,
  map_extra: "uint64",
  numa_node: u32,
  map_ifindex: u32,
});
const batchOpts = koffi.struct({ sz: "size_t", elem_flags: "uint64", flags: "uint64" });
const linkCreateOpts = koffi.struct({ sz: "size_t", flags: u32, padding: u32 });

export const optsSize = {
  open: koffi.sizeof(openOpts),
  testRun: koffi.sizeof(testRunOpts),
  tcHook: koffi.sizeof(tcHook),
  tcOpts: koffi.sizeof(tcOpts),
  mapCreate: koffi.sizeof(mapCreateOpts),
  batch: koffi.sizeof(batchOpts),
  linkCreate: koffi.sizeof(linkCreateOpts),
};

/**
 * libbpf_print_fn_t. Named, because koffi 3.3 can number an anonymous prototype like an anonymous struct and then
 * takes the one's pointers for the other's; named uniquely, because a second copy of this package may be loaded.
 */
export const printProto = koffi.proto(`libbpf_print_fn_${randomBytes(8).toString("hex")}`, "int", [
  "int",
  "void *",
  "void *",
]);

const LIBRARY = "libbpf.so.1";

function bind() {
  let lib: ReturnType<typeof koffi.load>;
  try {
    lib = koffi.load(LIBRARY);
  } catch (cause) {
    throw new MissingLibraryError("load libbpf", `${LIBRARY} was not found`, cause);
  }
  type Type = string | TypeObject | ReturnType<typeof koffi.inout>;
  const f = <T>(name: string, result: Type, args: Type[]): T => lib.func(name, result, args) as unknown as T;
  const int = "int";
  const size = "size_t";
  const ptr = "void *";
  const text = "const char *";
  const u64 = "uint64";
  type GetU32 = (handle: Pointer) => number;
  type SetU32 = (handle: Pointer, value: number) => number;
  type GetText = (handle: Pointer) => string;
  type Walk = (object: Pointer, previous: Pointer | null) => Pointer | null;
  type TypeName = (type: number) => string | null;
  const getU32 = (name: string) => f<GetU32>(name, u32, [ptr]);
  const setU32 = (name: string) => f<SetU32>(name, int, [ptr, u32]);
  const getText = (name: string) => f<GetText>(name, text, [ptr]);

  const major = f<() => number>("libbpf_major_version", u32, [])();
  const minor = f<() => number>("libbpf_minor_version", u32, [])();
  if (major < 1 || (major === 1 && minor < 1)) {
    throw new MissingLibraryError("load libbpf", `${LIBRARY} is version ${major}.${minor}`);
  }
  return {
    setPrint: f<(fn: Pointer | null) => Pointer | null>("libbpf_set_print", ptr, [koffi.pointer(printProto)]),
    strerror: f<(errno: number, buffer: Memory, size: number) => number>("libbpf_strerror", int, [
      int,
      ptr,
      size,
    ]),
    possibleCpus: f<() => number>("libbpf_num_possible_cpus", int, []),
    mapTypeName: f<TypeName>("libbpf_bpf_map_type_str", text, [int]),
    programTypeName: f<TypeName>("libbpf_bpf_prog_type_str", text, [int]),
    linkTypeName: f<TypeName>("libbpf_bpf_link_type_str", text, [int]),
    probeMapType: f<(type: number, opts: null) => number>("libbpf_probe_bpf_map_type", int, [int, ptr]),
    probeProgramType: f<(type: number, opts: null) => number>("libbpf_probe_bpf_prog_type", int, [int, ptr]),

    btfLoadKernel: f<() => Pointer | null>("btf__load_vmlinux_btf", ptr, []),
    btfLoadModule: f<(module: string, kernel: Pointer) => Pointer | null>("btf__load_module_btf", ptr, [
      text,
      ptr,
    ]),
    btfFind: f<(btf: Pointer, name: string, kind: number) => number>("btf__find_by_name_kind", int, [
      ptr,
      text,
      u32,
    ]),

    objectOpen: f<(bytes: Memory, length: number, opts: object) => Pointer | null>(
      "bpf_object__open_mem",
      ptr,
      [ptr, size, koffi.pointer(openOpts)],
    ),
    objectLoad: f<(object: Pointer) => number>("bpf_object__load", int, [ptr]),
    objectClose: f<(object: Pointer) => void>("bpf_object__close", "void", [ptr]),
    objectBtf: f<(object: Pointer) => Pointer | null>("bpf_object__btf", ptr, [ptr]),
    btfRawData: f<(btf: Pointer, size: Memory) => Pointer | null>("btf__raw_data", ptr, [ptr, ptr]),
    nextProgram: f<Walk>("bpf_object__next_program", ptr, [ptr, ptr]),
    nextMap: f<Walk>("bpf_object__next_map", ptr, [ptr, ptr]),

    programName: getText("bpf_program__name"),
    programSection: getText("bpf_program__section_name"),
    programFd: f<GetU32>("bpf_program__fd", int, [ptr]),
    programType: f<GetU32>("bpf_program__type", int, [ptr]),
    programInstructions: f<GetU32>("bpf_program__insn_cnt", size, [ptr]),
    programAutoload: f<(program: Pointer) => boolean>("bpf_program__autoload", "bool", [ptr]),
    programSetAutoload: f<(program: Pointer, on: boolean) => number>("bpf_program__set_autoload", int, [
      ptr,
      "bool",
    ]),
    testRun: f<(fd: number, opts: TestRunOpts) => number>("bpf_prog_test_run_opts", int, [
      int,
      koffi.inout(koffi.pointer(testRunOpts)),
    ]),
    programFdById: f<(id: number) => number>("bpf_prog_get_fd_by_id", int, [u32]),

    mapName: getText("bpf_map__name"),
    mapFd: f<GetU32>("bpf_map__fd", int, [ptr]),
    mapType: f<GetU32>("bpf_map__type", int, [ptr]),
    mapIsInternal: f<(map: Pointer) => boolean>("bpf_map__is_internal", "bool", [ptr]),
    mapKeySize: getU32("bpf_map__key_size"),
    mapValueSize: getU32("bpf_map__value_size"),
    mapMaxEntries: getU32("bpf_map__max_entries"),
    mapFlags: getU32("bpf_map__map_flags"),
    mapSetValueSize: setU32("bpf_map__set_value_size"),
    mapSetMaxEntries: setU32("bpf_map__set_max_entries"),
    mapSetFlags: setU32("bpf_map__set_map_flags"),
    mapSetInnerFd: f<SetU32>("bpf_map__set_inner_map_fd", int, [ptr, int]),
    mapReuseFd: f<SetU32>("bpf_map__reuse_fd", int, [ptr, int]),
    mapSetPinPath: f<(map: Pointer, path: string) => number>("bpf_map__set_pin_path", int, [ptr, text]),
    mapInitialValue: f<(map: Pointer, size: Memory) => Pointer | null>("bpf_map__initial_value", ptr, [
      ptr,
      ptr,
    ]),

    mapCreate: f<
      (type: number, name: string, key: number, value: number, maxEntries: number, opts: object) => number
    >("bpf_map_create", int, [int, text, u32, u32, u32, koffi.pointer(mapCreateOpts)]),
    mapLookup: f<(fd: number, key: Memory, value: Memory) => number>("bpf_map_lookup_elem", int, [
      int,
      ptr,
      ptr,
    ]),
    mapUpdate: f<(fd: number, key: Memory, value: Memory, flags: number) => number>(
      "bpf_map_update_elem",
      int,
      [int, ptr, ptr, u64],
    ),
    mapDelete: f<(fd: number, key: Memory) => number>("bpf_map_delete_elem", int, [int, ptr]),
    mapNextKey: f<(fd: number, key: Memory, next: Memory) => number>("bpf_map_get_next_key", int, [
      int,
      ptr,
      ptr,
    ]),
    mapFreeze: f<(fd: number) => number>("bpf_map_freeze", int, [int]),
    mapUpdateBatch: f<(fd: number, keys: Memory, values: Memory, count: Memory, opts: object) => number>(
      "bpf_map_update_batch",
      int,
      [int, ptr, ptr, ptr, koffi.pointer(batchOpts)],
    ),
    mapDeleteBatch: f<(fd: number, keys: Memory, count: Memory, opts: null) => number>(
      "bpf_map_delete_batch",
      int,
      [int, ptr, ptr, ptr],
    ),
    mapLookupBatch: f<
      (
        fd: number,
        from: Memory,
        next: Memory,
        keys: Memory,
        values: Memory,
        count: Memory,
        opts: null,
      ) => number
    >("bpf_map_lookup_batch", int, [int, ptr, ptr, ptr, ptr, ptr, ptr]),
    mapFdById: f<(id: number) => number>("bpf_map_get_fd_by_id", int, [u32]),

    objectPin: f<(fd: number, path: string) => number>("bpf_obj_pin", int, [int, text]),
    objectGet: f<(path: string) => number>("bpf_obj_get", int, [text]),
    infoByFd: f<(fd: number, info: Memory, size: Memory) => number>("bpf_obj_get_info_by_fd", int, [
      int,
      ptr,
      ptr,
    ]),

    linkCreate: f<(programFd: number, target: number, attachType: number, opts: object | null) => number>(
      "bpf_link_create",
      int,
      [int, int, int, koffi.pointer(linkCreateOpts)],
    ),
    programAttach: f<(program: Pointer) => Pointer | null>("bpf_program__attach", ptr, [ptr]),
    programAttachType: f<GetU32>("bpf_program__expected_attach_type", int, [ptr]),
    linkHandleFd: f<GetU32>("bpf_link__fd", int, [ptr]),
    linkDestroy: f<(link: Pointer) => number>("bpf_link__destroy", int, [ptr]),
    iteratorCreate: f<(fd: number) => number>("bpf_iter_create", int, [int]),
    linkUpdate: f<(fd: number, programFd: number, opts: null) => number>("bpf_link_update", int, [
      int,
      int,
      ptr,
    ]),
    linkDetach: f<(fd: number) => number>("bpf_link_detach", int, [int]),
    linkFdById: f<(id: number) => number>("bpf_link_get_fd_by_id", int, [u32]),
    tcHookCreate: f<(hook: object) => number>("bpf_tc_hook_create", int, [koffi.pointer(tcHook)]),
    tcHookDestroy: f<(hook: object) => number>("bpf_tc_hook_destroy", int, [koffi.pointer(tcHook)]),
    tcAttach: f<(hook: object, opts: TcOpts) => number>("bpf_tc_attach", int, [
      koffi.pointer(tcHook),
      koffi.inout(koffi.pointer(tcOpts)),
    ]),
    tcDetach: f<(hook: object, opts: TcOpts) => number>("bpf_tc_detach", int, [
      koffi.pointer(tcHook),
      koffi.pointer(tcOpts),
    ]),
    tcQuery: f<(hook: object, opts: TcOpts) => number>("bpf_tc_query", int, [
      koffi.pointer(tcHook),
      koffi.inout(koffi.pointer(tcOpts)),
    ]),

    btfParse: f<(path: string, base: null) => Pointer | null>("btf__parse", ptr, [text, ptr]),
    btfFree: f<(btf: Pointer) => void>("btf__free", "void", [ptr]),
    btfTypeCount: f<(btf: Pointer) => number>("btf__type_cnt", u32, [ptr]),
    btfDumpNew: f<(btf: Pointer, print: Pointer, context: null, opts: null) => Pointer | null>(
      "btf_dump__new",
      ptr,
      [ptr, ptr, ptr, ptr],
    ),
    btfDumpType: f<(dump: Pointer, id: number) => number>("btf_dump__dump_type", int, [ptr, u32]),
    btfDumpFree: f<(dump: Pointer) => void>("btf_dump__free", "void", [ptr]),
    perfBufferNew: f<
      (fd: number, pages: number, sample: Pointer, lost: Pointer, context: null, opts: null) => Pointer | null
    >("perf_buffer__new", ptr, [int, size, ptr, ptr, ptr, ptr]),
    perfBufferConsume: f<(buffer: Pointer) => number>("perf_buffer__consume", int, [ptr]),
    perfBufferEpollFd: f<(buffer: Pointer) => number>("perf_buffer__epoll_fd", int, [ptr]),
    perfBufferFree: f<(buffer: Pointer) => void>("perf_buffer__free", "void", [ptr]),
    linkerNew: f<(path: string, opts: null) => Pointer | null>("bpf_linker__new", ptr, [text, ptr]),
    linkerAddFile: f<(linker: Pointer, path: string, opts: null) => number>("bpf_linker__add_file", int, [
      ptr,
      text,
      ptr,
    ]),
    linkerFinalize: f<(linker: Pointer) => number>("bpf_linker__finalize", int, [ptr]),
    linkerFree: f<(linker: Pointer) => void>("bpf_linker__free", "void", [ptr]),
  };
}

/** struct bpf_test_run_opts (bpf/bpf.h). */
export interface TestRunOpts {
  sz: number;
  data_in: ArrayBufferView | null;
  data_out: ArrayBufferView | null;
  data_size_in: number;
  data_size_out: number;
  ctx_in: ArrayBufferView | null;
  ctx_out: ArrayBufferView | null;
  ctx_size_in: number;
  ctx_size_out: number;
  retval: number;
  repeat: number;
  duration: number;
  flags: number;
  cpu: number;
  batch_size: number;
}

/** struct bpf_tc_opts (bpf/libbpf.h). */
export interface TcOpts {
  sz: number;
  prog_fd: number;
  flags: number;
  prog_id: number;
  handle: number;
  priority: number;
  padding: number;
}

let bound: ReturnType<typeof bind> | undefined;

/**
 * libbpf's functions, loaded at first use, so that importing this package needs no libbpf.
 * @throws MissingLibraryError
 */
export function native(): ReturnType<typeof bind> {
  bound ??= bind();
  return bound;
}
