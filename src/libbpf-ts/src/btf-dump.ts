import { randomBytes } from "node:crypto";
import koffi from "koffi";
import { BpfError } from "./errors.js";
import { check } from "./fail.js";
import { withLibbpfLog } from "./libbpf-log.js";
import { lastErrno, vsnprintf } from "./libc.js";
import { native, type Pointer } from "./native.js";

/** Named uniquely, as in native.ts. */
const printProto = koffi.proto(`btf_dump_printf_fn_${randomBytes(8).toString("hex")}`, "void", [
  "void *",
  "void *",
  "void *",
]);

/** Text of C that grows as libbpf prints it, piece by piece. */
class Printer {
  #buffer = Buffer.alloc(1 << 23);
  #length = 0;

  print(format: Pointer, args: Pointer): void {
    // A piece is a declarator or less; the room left is kept far above the longest name.
    if (this.#buffer.length - this.#length < 1 << 16)
      this.#buffer = Buffer.concat([this.#buffer], this.#buffer.length * 2);
    const room = this.#buffer.length - this.#length;
    const written = vsnprintf(this.#buffer.subarray(this.#length), room, format, args);
    this.#length += Math.min(Math.max(written, 0), room - 1);
  }

  text(): string {
    return this.#buffer.toString("latin1", 0, this.#length);
  }
}

/**
 * Writes the types of raw BTF (/sys/kernel/btf/vmlinux, or its path in another kernel's files) as C, in an order that
 * compiles: libbpf's btf_dump, which bpftool prints too.
 * @throws BpfError
 */
export function dumpBtf(path = "/sys/kernel/btf/vmlinux"): string {
  const op = `write the types of ${path} as C`;
  const lib = native();
  const printer = new Printer();
  const callback = koffi.register(
    (_context: Pointer, format: Pointer, args: Pointer) => printer.print(format, args),
    koffi.pointer(printProto),
  );
  const { result: btf, log } = withLibbpfLog(() => lib.btfParse(path, null) ?? -lastErrno());
  try {
    if (typeof btf === "number") {
      throw new BpfError(op, {
        code: "BTF",
        errno: -btf,
        found: log.trim() || "it cannot be read as BTF",
        log,
      });
    }
    const dump = lib.btfDumpNew(btf, callback, null, null);
    if (dump === null) throw new BpfError(op, { code: "BTF", found: "libbpf cannot start" });
    try {
      const count = lib.btfTypeCount(btf);
      withLibbpfLog(() => {
        for (let id = 1; id < count; id++) check(lib.btfDumpType(dump, id), op);
      });
    } finally {
      lib.btfDumpFree(dump);
    }
    return printer.text();
  } finally {
    if (typeof btf !== "number") lib.btfFree(btf);
    koffi.unregister(callback);
  }
}
