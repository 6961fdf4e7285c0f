import { existsSync } from "node:fs";
import { bpf } from "../bpf-syscall.js";
import { ENODEV, EPERM } from "../errno.js";
import { UnknownNameError } from "../errors.js";
import { failure } from "../fail.js";
import { withLibbpfLog } from "../libbpf-log.js";
import { native } from "../native.js";
import { CALL_HELPER, mayCall } from "./call.js";
import { HELPER_NAMES } from "./helper-names.js";
import { hasKfunc } from "./kfunc.js";

// linux/bpf.h
const BPF_PROG_QUERY = 16;
const BPF_TCX_INGRESS = 46;
const SOCKET_FILTER = 1;
/** No device has it: a kernel with tcx answers ENODEV, one without EINVAL. */
const NO_IFINDEX = 0x7fffffff;
/** Far above the last type of any kernel. */
const MOST_TYPES = 256;

const known = new Map<string, boolean>();

/** Keeps an answer; what throws is asked again the next time. */
function once(key: string, probe: () => boolean): boolean {
  const answer = known.get(key) ?? probe();
  known.set(key, answer);
  return answer;
}

/** How the kernel answers a question about tcx at a device that cannot be; EPERM before it looks without CAP_NET_ADMIN. */
function queryTcx(op: string): number {
  const attributes = Buffer.alloc(64);
  attributes.writeUInt32LE(NO_IFINDEX, 0);
  attributes.writeUInt32LE(BPF_TCX_INGRESS, 4);
  const errno = -bpf(BPF_PROG_QUERY, attributes);
  if (errno === EPERM) throw failure(op, errno);
  return errno;
}

/**
 * libbpf's probes give 1, 0, or -errno where they could not find out, except that 1.1 takes lacking rights for an
 * answer: those are asked for first.
 */
function conclusive(op: string, probe: () => number): boolean {
  queryTcx(op);
  const { result, log } = withLibbpfLog(probe);
  if (result < 0) throw failure(op, -result, { log });
  return result === 1;
}

function numberOf(kind: string, name: string | number, nameAt: (type: number) => string | null): number {
  if (typeof name === "number") return name;
  const names = Array.from({ length: MOST_TYPES }, (_, type) => nameAt(type));
  const found = names.indexOf(name);
  if (found >= 0) return found;
  throw new UnknownNameError(
    "probe the kernel",
    kind,
    name,
    names.filter((one) => one !== null),
  );
}

const programType = (name: string | number): number =>
  numberOf("program type", name, (type) => native().programTypeName(type));

/**
 * What the running kernel can do, found out by trying. Types go by bpftool's names ("sched_cls", "lpm_trie") or by their
 * numbers in linux/bpf.h, helpers by their C names with or without `bpf_`. An answer is kept for the life of the process.
 * Each throws MissingRightsError or BpfError where the kernel did not let it be found out, and asks again the next time.
 */
export const features = {
  programType(name: string | number): boolean {
    const type = programType(name);
    return once(`program ${type}`, () =>
      conclusive(`probe program type ${name}`, () => native().probeProgramType(type, null)),
    );
  },

  mapType(name: string | number): boolean {
    const type = numberOf("map type", name, (number) => native().mapTypeName(number));
    return once(`map ${type}`, () =>
      conclusive(`probe map type ${name}`, () => native().probeMapType(type, null)),
    );
  },

  /** Whether programs of a type may call a helper. */
  helper(name: string, program: string | number = "sched_cls"): boolean {
    const type = programType(program);
    const short = name.replace(/^bpf_/, "");
    const id = HELPER_NAMES.indexOf(short);
    if (id < 0) throw new UnknownNameError("probe the kernel", "helper", name, HELPER_NAMES.slice(1));
    return once(`helper ${id} ${type}`, () => mayCall(`probe helper ${name}`, type, CALL_HELPER, id));
  },

  /**
   * Whether programs of a type may call a kernel function (Linux 5.13). A module's counts while the module is loaded,
   * so that answer is never kept.
   * @throws MissingBtfError
   */
  kfunc(name: string, options: { program?: string | number; module?: string } = {}): boolean {
    const type = programType(options.program ?? "sched_cls");
    const { module } = options;
    if (module !== undefined) return hasKfunc(name, type, module);
    return once(`kfunc ${name} ${type}`, () => hasKfunc(name, type, undefined));
  },

  /** tcx links (Linux 6.6). */
  tcx(): boolean {
    return once("tcx", () => queryTcx("probe tcx") === ENODEV);
  },

  /** Whether the kernel carries its types, which CO-RE and kfuncs need (CONFIG_DEBUG_INFO_BTF). */
  kernelBtf(): boolean {
    return existsSync("/sys/kernel/btf/vmlinux");
  },

  /**
   * Whether RLIMIT_MEMLOCK limits BPF memory, as it does before Linux 5.11. libbpf raises the limit by itself; a process
   * that may not raise it has to be given it.
   */
  memlockLimit(): boolean {
    // The helper came with the accounting by control group, which took the limit's place (libbpf asks the same).
    return !once("memcg accounting", () =>
      mayCall(
        "probe memory accounting",
        SOCKET_FILTER,
        CALL_HELPER,
        HELPER_NAMES.indexOf("ktime_get_coarse_ns"),
      ),
    );
  },
};
