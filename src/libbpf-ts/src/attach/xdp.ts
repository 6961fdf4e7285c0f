import { EEXIST, EINVAL, EOPNOTSUPP } from "../errno.js";
import type { BpfProgram } from "../program.js";
import { type BpfLink, createLink } from "./link.js";

// linux/bpf.h and linux/if_link.h
const BPF_XDP = 37;
const BPF_PROG_TYPE_XDP = 6;
const XDP_FLAGS_SKB_MODE = 1 << 1;
const XDP_FLAGS_DRV_MODE = 1 << 2;
const EBUSY = 16;

export interface XdpOptions {
  ifindex: number;
  program: BpfProgram;
  /**
   * "native" runs in the driver, "generic" in the stack, on any device; left out, the kernel takes native where the
   * driver has it.
   */
  mode?: "native" | "generic";
}

/**
 * Attaches an XDP program to a device of the calling thread's network namespace by a link (Linux 5.9).
 * link.update() replaces the program in one step.
 */
export function attachXdp({ ifindex, program, mode }: XdpOptions): BpfLink {
  const flags = mode === "generic" ? XDP_FLAGS_SKB_MODE : mode === "native" ? XDP_FLAGS_DRV_MODE : 0;
  return createLink({
    op: `attach program ${program.name} to ifindex ${ifindex} by XDP`,
    what: `XDP link at ifindex ${ifindex}`,
    program,
    target: ifindex,
    attachType: BPF_XDP,
    flags,
    wanted: { type: BPF_PROG_TYPE_XDP, section: "xdp" },
    hints: {
      [EBUSY]: "another XDP program is attached to the device: detach it first",
      [EEXIST]: "another XDP program is attached to the device in the other mode",
      [EINVAL]:
        "no such device in this network namespace, or one that takes no XDP; XDP links need Linux 5.9",
      [EOPNOTSUPP]: 'the driver has no XDP: take mode "generic"',
    },
  });
}
