import koffi from "koffi";
import type { Memory, Pointer } from "./native.js";

const libc = koffi.load("libc.so.6");
const bind = <T>(signature: string): T => libc.func(signature) as unknown as T;

export const memcpy = bind<(to: Memory, from: Memory, bytes: number) => Pointer>(
  "void *memcpy(void *to, const void *from, size_t bytes)",
);
export const vasprintf = bind<(out: Memory, format: Pointer, args: Pointer) => number>(
  "int vasprintf(void *out, void *format, void *args)",
);
export const vsnprintf = bind<(to: Memory, bytes: number, format: Pointer, args: Pointer) => number>(
  "int vsnprintf(void *to, size_t bytes, void *format, void *args)",
);
export const free = bind<(memory: Pointer) => void>("void free(void *memory)");
export const mount = bind<
  (source: string, target: string, type: string, flags: number, data: string | null) => number
>(
  "int mount(const char *source, const char *target, const char *type, unsigned long flags, const char *data)",
);

export const flock = bind<(fd: number, operation: number) => number>("int flock(int fd, int operation)");

/** close(2). Node's own closeSync warns in a worker thread about a descriptor that Node did not open. */
export const closeFd = bind<(fd: number) => number>("int close(int fd)");

/** errno of the failed libc or libbpf call just made; means nothing after a successful one. */
export const lastErrno = (): number => koffi.errno();

/** Reads `bytes` bytes at a C address into memory of our own. */
export function copyOut(from: Pointer, bytes: number): Buffer {
  const to = Buffer.alloc(bytes);
  if (bytes > 0) memcpy(to, from, bytes);
  return to;
}

const mmapCall = bind<
  (at: null, bytes: number, protection: number, flags: number, fd: number, offset: number) => Pointer
>("void *mmap(void *at, size_t bytes, int protection, int flags, int fd, long offset)");
export const munmap = bind<(at: Pointer, bytes: number) => number>("int munmap(void *at, size_t bytes)");
export const pageSize = bind<() => number>("int getpagesize()");

// sys/mman.h
const PROT_READ = 1;
const PROT_WRITE = 2;
const MAP_SHARED = 1;
const MAP_FAILED = 0xffff_ffff_ffff_ffffn;

/**
 * Maps a descriptor's memory, shared. @param access "write" for reading and writing
 * @returns undefined where the kernel refuses (see lastErrno)
 */
export function mapShared(
  fd: number,
  bytes: number,
  access: "read" | "write" = "write",
  offset = 0,
): Pointer | undefined {
  const protection = access === "write" ? PROT_READ | PROT_WRITE : PROT_READ;
  const at = mmapCall(null, bytes, protection, MAP_SHARED, fd, offset);
  return BigInt.asUintN(64, at) === MAP_FAILED ? undefined : at;
}

/** Unmaps memory once nothing refers to its ArrayBuffer any more: no view of it can ever reach unmapped pages. */
const unmapper = new FinalizationRegistry<{ at: Pointer; bytes: number }>(({ at, bytes }) =>
  munmap(at, bytes),
);

/** mapShared() as an ArrayBuffer, unmapped with its last reference. */
export function mapBuffer(
  fd: number,
  bytes: number,
  access: "read" | "write",
  offset = 0,
): ArrayBuffer | undefined {
  const at = mapShared(fd, bytes, access, offset);
  if (at === undefined) return undefined;
  const buffer = koffi.view(at, bytes);
  unmapper.register(buffer, { at, bytes });
  return buffer;
}

const fcntl = bind<(fd: number, command: number, argument: number) => number>(
  "int fcntl(int fd, int command, int argument)",
);
/** F_DUPFD_CLOEXEC of fcntl.h. */
const F_DUPFD_CLOEXEC = 1030;

/** A second descriptor of the same thing, closed by exec; negative where the kernel refuses (see lastErrno). */
export const duplicateFd = (fd: number): number => fcntl(fd, F_DUPFD_CLOEXEC, 0);
