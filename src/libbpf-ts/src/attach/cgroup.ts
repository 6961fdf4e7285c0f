import { closeSync, openSync } from "node:fs";
import { EINVAL, ENOENT } from "../errno.js";
import { ArgumentError, BpfError } from "../errors.js";
import { ObjectProgram } from "../object-program.js";
import type { BpfProgram } from "../program.js";
import { type BpfLink, createLink } from "./link.js";

/** enum bpf_attach_type (linux/bpf.h) of the hooks that a control group has for networking. */
export const CgroupAttachType = {
  skbIngress: 0,
  skbEgress: 1,
  socketCreate: 2,
  sockOps: 3,
  device: 6,
  bind4: 8,
  bind6: 9,
  connect4: 10,
  connect6: 11,
  sendmsg4: 14,
  sendmsg6: 15,
  sysctl: 18,
  recvmsg4: 19,
  recvmsg6: 20,
  getsockopt: 21,
  setsockopt: 22,
} as const;

/**
 * Attaches a program to a control group of version 2 by a link (Linux 5.7). It runs for the group and those below it,
 * beside the programs of others.
 * @param options.cgroup the group's folder, for example /sys/fs/cgroup/system.slice
 * @param options.attachType from the program's section if left out
 */
export function attachCgroup(options: { cgroup: string; program: BpfProgram; attachType?: number }): BpfLink {
  const { cgroup, program } = options;
  const op = `attach program ${program.name} to cgroup ${cgroup}`;
  const attachType =
    options.attachType ?? (program instanceof ObjectProgram ? program.attachType : undefined);
  if (attachType === undefined) {
    throw new ArgumentError(op, "no attachType", "a program that is not of an open object does not tell it");
  }
  const fd = openGroup(cgroup, op);
  try {
    return createLink({
      op,
      what: `link at cgroup ${cgroup}`,
      program,
      target: fd,
      attachType,
      wanted: { type: program.info().type, section: "cgroup_skb/egress" },
      hints: { [EINVAL]: "the attach type must be the program's; cgroup links need Linux 5.7" },
    });
  } finally {
    closeSync(fd);
  }
}

function openGroup(cgroup: string, op: string): number {
  try {
    return openSync(cgroup, "r");
  } catch (cause) {
    const { code = "EIO", errno = ENOENT } = cause as NodeJS.ErrnoException;
    const hint = "give the folder of a group on cgroup2";
    throw new BpfError(op, { code, errno: Math.abs(errno), found: `cannot open it (${code})`, hint, cause });
  }
}
