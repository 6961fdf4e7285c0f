import { EPERM, errnoName } from "./errno.js";
import { BpfError, MissingRightsError } from "./errors.js";
import { withLibbpfLog } from "./libbpf-log.js";
import { native } from "./native.js";

/** Text of an errno, libbpf's own codes included. */
export function errnoText(errno: number): string {
  const buffer = Buffer.alloc(128);
  native().strerror(errno, buffer, buffer.length);
  return buffer.toString("utf8", 0, buffer.indexOf(0));
}

/** The error for a failed call: rights have their own type, all else names its errno. */
export function failure(op: string, errno: number, more: { hint?: string; log?: string } = {}): BpfError {
  if (errno === EPERM) return new MissingRightsError(op, errno, more.log);
  const code = errnoName(errno);
  return new BpfError(op, { code, errno, found: `${errnoText(errno)} (${code})`, ...more });
}

/** Passes a non-negative return code through; a negative one (-errno, as libbpf 1.x returns) is thrown. */
export function check(code: number, op: string, hint?: string): number {
  if (code < 0) throw failure(op, -code, hint === undefined ? {} : { hint });
  return code;
}

/** check() for a call that libbpf may comment on; its words become the error's log. */
export function checkLogged(work: () => number, op: string, hint?: string): void {
  const { result, log } = withLibbpfLog(work);
  if (result < 0) throw failure(op, -result, hint === undefined ? { log } : { hint, log });
}
