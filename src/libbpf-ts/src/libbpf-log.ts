import koffi from "koffi";
import { free, vasprintf } from "./libc.js";
import { native, type Pointer, printProto } from "./native.js";
import { withProcessLock } from "./process-lock.js";

/** enum libbpf_print_level: 0 warn, 1 info, 2 debug. */
const LIBBPF_DEBUG = 2;

let sink: string[] | undefined;
let isVerbose = false;
let callback: Pointer | undefined;

/**
 * A va_list parameter is a pointer on x86-64 and arm64 and is valid only while the callback runs, so the text is
 * formatted here and now. vasprintf sizes the buffer itself: a verifier log may have 16 MB.
 */
function print(level: number, format: Pointer, args: Pointer): number {
  if (sink === undefined || (level >= LIBBPF_DEBUG && !isVerbose)) return 0;
  const out = new BigUint64Array(1);
  const length = vasprintf(out, format, args);
  const text = out[0];
  if (length < 0 || text === undefined) return 0;
  sink.push(koffi.decode.string(text, length));
  free(text);
  return length;
}

/**
 * Runs `work` while libbpf's messages are collected in place of being printed on stderr.
 *
 * libbpf has one print function per process, and a JavaScript callback may be called by its own thread only. So
 * every call that may print goes through here: one thread at a time, with its own callback installed for as long.
 */
export function withLibbpfLog<T>(work: () => T): { result: T; log: string } {
  const lines: string[] = [];
  const collect = (): { result: T; log: string } => {
    const outer = sink;
    sink = lines;
    try {
      return { result: work(), log: lines.join("") };
    } finally {
      sink = outer;
    }
  };
  if (sink !== undefined) return collect();
  const lib = native();
  callback ??= koffi.register(print, koffi.pointer(printProto));
  const own = callback;
  return withProcessLock(() => {
    lib.setPrint(own);
    try {
      return collect();
    } finally {
      lib.setPrint(null);
    }
  });
}

/** The last thing that libbpf says, debug messages included, while it does work that fails: often the only reason. */
export function lastWords(work: () => void): string {
  return withLibbpfLog(() => {
    isVerbose = true;
    try {
      work();
      return (sink?.at(-1) ?? "").trim();
    } finally {
      isVerbose = false;
    }
  }).result;
}
