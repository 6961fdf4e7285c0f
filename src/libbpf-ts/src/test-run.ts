import { EINVAL, ENOSPC, ENOTSUPP } from "./errno.js";
import { MissingFeatureError } from "./errors.js";
import { failure } from "./fail.js";
import { native, optsSize } from "./native.js";
import type { BpfProgram } from "./program.js";

export interface TestRunOptions {
  /** The packet, from the Ethernet header on (at least 14 bytes for tc and XDP programs). */
  data?: ArrayBufferView;
  /** Memory for the packet as the program left it, or how many bytes to allocate. Left out: it is not copied. */
  dataOut?: Uint8Array | number;
  /** The context as the kernel lets a test set it: struct __sk_buff or xdp_md. */
  ctx?: ArrayBufferView;
  /** Memory for the context afterwards. */
  ctxOut?: Uint8Array;
  /** Number of runs, 1 if left out; the data is not reset in between. */
  repeat?: number;
}

export interface TestRunResult {
  /** The program's return value, unsigned. */
  readonly retval: number;
  /** The packet afterwards, in the memory given as dataOut; empty where none was asked for. */
  readonly dataOut: Uint8Array;
  readonly ctxOut: Uint8Array;
  /** Mean ns a run, as the kernel measured it. */
  readonly duration: number;
}

/** Types whose test run begins with an Ethernet header (net/bpf/test_run.c). */
const PACKET_PROGRAMS: ReadonlySet<string> = new Set([
  "sched_cls",
  "sched_act",
  "xdp",
  "cgroup_skb",
  "lwt_xmit",
]);
const EMPTY = new Uint8Array(0);

/** @throws MissingFeatureError for a program type that cannot be run so; BpfError ENOSPC where dataOut is too small */
export function testRun(program: BpfProgram, options: TestRunOptions): TestRunResult {
  const { data, ctx, repeat = 0 } = options; // 0 is one run, and all that tracing programs take
  const dataOut =
    typeof options.dataOut === "number" ? new Uint8Array(options.dataOut) : (options.dataOut ?? EMPTY);
  const ctxOut = options.ctxOut ?? EMPTY;
  const opts = {
    sz: optsSize.testRun,
    data_in: data ?? null,
    data_out: dataOut.length > 0 ? dataOut : null,
    data_size_in: data?.byteLength ?? 0,
    data_size_out: dataOut.length,
    ctx_in: ctx ?? null,
    ctx_out: ctxOut.length > 0 ? ctxOut : null,
    ctx_size_in: ctx?.byteLength ?? 0,
    ctx_size_out: ctxOut.length,
    retval: 0,
    repeat,
    duration: 0,
    flags: 0,
    cpu: 0,
    batch_size: 0,
  };
  const code = native().testRun(program.fd, opts);
  if (code < 0) throw explain(program, -code, opts.data_size_out, data?.byteLength ?? 0);
  return {
    retval: opts.retval,
    dataOut: dataOut.subarray(0, dataOut.length > 0 ? opts.data_size_out : 0),
    ctxOut: ctxOut.subarray(0, ctxOut.length > 0 ? opts.ctx_size_out : 0),
    duration: opts.duration,
  };
}

function explain(program: BpfProgram, errno: number, needed: number, given: number): Error {
  const op = `test-run program ${program.name}`;
  if (errno === ENOTSUPP) {
    return new MissingFeatureError(op, `test run for ${program.info().typeName} programs`, undefined, {
      errno,
    });
  }
  if (errno === ENOSPC)
    return failure(op, errno, { hint: `the result has ${needed} bytes: give a larger dataOut` });
  if (errno === EINVAL && given < 14 && PACKET_PROGRAMS.has(program.info().typeName))
    return failure(op, errno, { hint: "data must hold an Ethernet header (14 bytes)" });
  return failure(op, errno);
}
