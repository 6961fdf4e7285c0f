import { MissingBtfError } from "../errors.js";
import { withLibbpfLog } from "../libbpf-log.js";
import { native, type Pointer } from "../native.js";
import { CALL_KFUNC, mayCall } from "./call.js";

/** linux/btf.h */
const BTF_KIND_FUNC = 12;

/** Runs `work` with the BTF of the kernel and, where one is named, of a module over it; undefined without that module. */
function withKernelBtf<T>(module: string | undefined, work: (btf: Pointer) => T): T | undefined {
  const lib = native();
  const op = "read the kernel's BTF";
  const { result: kernel, log } = withLibbpfLog(() => lib.btfLoadKernel());
  if (kernel === null) throw new MissingBtfError(op, log);
  try {
    if (module === undefined) return work(kernel);
    const { result: split } = withLibbpfLog(() => lib.btfLoadModule(module, kernel));
    if (split === null) return undefined;
    try {
      return work(split);
    } finally {
      lib.btfFree(split);
    }
  } finally {
    lib.btfFree(kernel);
  }
}

/**
 * Whether the kernel, or one of its modules that is loaded, has a kfunc.
 * For the kernel itself the verifier is asked whether programs of `programType` may call it; of a module's function it
 * is only known that it exists.
 */
export function hasKfunc(name: string, programType: number, module: string | undefined): boolean {
  const id = withKernelBtf(module, (btf) => native().btfFind(btf, name, BTF_KIND_FUNC));
  if (id === undefined || id <= 0) return false;
  return module !== undefined || mayCall(`probe kfunc ${name}`, programType, CALL_KFUNC, id);
}
