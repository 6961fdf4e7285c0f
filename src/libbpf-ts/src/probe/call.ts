import koffi from "koffi";
import { bpf } from "../bpf-syscall.js";
import { failure } from "../fail.js";
import { closeFd } from "../libc.js";

/** BPF_PROG_LOAD of linux/bpf.h. */
const BPF_PROG_LOAD = 5;
/** src_reg of a call instruction (linux/bpf.h). */
export const CALL_HELPER = 0;
export const CALL_KFUNC = 2;

const INSN_BYTES = 8;
// What the verifier says of a function that there is not, or that programs of the type may not call.
const REFUSED =
  /unknown func|invalid func|cannot use helper|is not allowed|not a kfunc|does not support calling|is not a valid/;

/**
 * Whether programs of a type may call a function: loads `call; r0 = 0; exit`. The verifier looks at the function
 * before its arguments, so a complaint about those means yes.
 * @throws MissingRightsError, BpfError where the kernel refused before it looked
 */
export function mayCall(op: string, programType: number, kind: number, id: number): boolean {
  const code = Buffer.alloc(3 * INSN_BYTES);
  code.set([0x85, kind << 4], 0);
  code.writeInt32LE(id, 4);
  code[INSN_BYTES] = 0xb7; // r0 = 0
  code[2 * INSN_BYTES] = 0x95; // exit
  const log = Buffer.alloc(64 << 10);
  const license = Buffer.from("GPL\0");
  // union bpf_attr: prog_type, insn_cnt, insns, license, log_level, log_size, log_buf
  const attributes = Buffer.alloc(128);
  attributes.writeUInt32LE(programType, 0);
  attributes.writeUInt32LE(code.length / INSN_BYTES, 4);
  attributes.writeBigUInt64LE(koffi.address(code), 8);
  attributes.writeBigUInt64LE(koffi.address(license), 16);
  attributes.writeUInt32LE(1, 24);
  attributes.writeUInt32LE(log.length, 28);
  attributes.writeBigUInt64LE(koffi.address(log), 32);
  const result = bpf(BPF_PROG_LOAD, attributes);
  if (result >= 0) {
    closeFd(result);
    return true;
  }
  const said = log.toString("latin1", 0, log.indexOf(0));
  if (said === "") throw failure(op, -result);
  return !REFUSED.test(said);
}
