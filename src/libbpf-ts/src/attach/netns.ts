import { closeSync, openSync } from "node:fs";
import { EINVAL, errnoName } from "../errno.js";
import { ArgumentError, BpfError } from "../errors.js";
import type { BpfProgram } from "../program.js";
import { type BpfLink, createLink } from "./link.js";

// linux/bpf.h: attach type by program type.
const FLOW_DISSECTOR = { type: 22, attachType: 17, section: "flow_dissector" };
const SK_LOOKUP = { type: 30, attachType: 36, section: "sk_lookup" };
const EEXIST = 17;

/**
 * Attaches a program to a network namespace by a link: sk_lookup (Linux 5.9) or flow_dissector (5.8).
 * @param options.netns the namespace's file (/run/netns/NAME); the calling thread's if left out
 */
export function attachNetns(options: { program: BpfProgram; netns?: string }): BpfLink {
  const { program, netns = "/proc/thread-self/ns/net" } = options;
  const op = `attach program ${program.name} to network namespace ${netns}`;
  const { type, typeName } = program.info();
  const kind = [FLOW_DISSECTOR, SK_LOOKUP].find((candidate) => candidate.type === type);
  if (kind === undefined) {
    const hint = 'make it SEC("sk_lookup") or SEC("flow_dissector")';
    throw new ArgumentError(op, `it is a ${typeName} program`, hint);
  }
  let fd: number;
  try {
    fd = openSync(netns, "r");
  } catch (cause) {
    const errno = Math.abs((cause as NodeJS.ErrnoException).errno ?? EINVAL);
    throw new BpfError(op, {
      code: errnoName(errno),
      errno,
      found: `cannot open it (${errnoName(errno)})`,
      cause,
    });
  }
  try {
    return createLink({
      op,
      what: `${kind.section} link of ${netns}`,
      program,
      target: fd,
      attachType: kind.attachType,
      wanted: kind,
      hints: { [EEXIST]: "the namespace has a program of this kind already" },
    });
  } finally {
    closeSync(fd);
  }
}
