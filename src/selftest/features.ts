import { randomBytes } from "node:crypto";
import { closeSync, existsSync, openSync, readFileSync } from "node:fs";
import { release } from "node:os";
import { gunzipSync } from "node:zlib";
import { tryCommand } from "./command.js";

/** What a scenario may need of the kernel. */
export type FeatureName = keyof typeof FEATURES;

interface Feature {
  /** The first Linux version that has it. */
  since: string;
  /** What to call it in a skip's reason. */
  what: string;
  /** Kernel build options without which it cannot be there. */
  config: readonly string[];
  /** Why a scenario is skipped without it, where it is no feature of the kernel at all. */
  otherwise?: string;
  probe(): Promise<boolean>;
}

/** A folder with a libbpf.so.1 that is not the system's; a VM has it. */
export const SECOND_LIBBPF = "/opt/libbpf";

/** Runs `ip` command lines in a namespace of their own, and tells whether the kernel took them all. */
async function ipWorks(...lines: string[]): Promise<boolean> {
  const handle = `xs-${randomBytes(4).toString("hex")}-probe`;
  if ((await tryCommand("ip", ["netns", "add", handle])).status !== 0) return false;
  try {
    const input = `${lines.join("\n")}\n`;
    return (await tryCommand("ip", ["-n", handle, "-batch", "-"], { input })).status === 0;
  } finally {
    await tryCommand("ip", ["netns", "del", handle]);
  }
}

// BTF's string section holds the names of all functions, kfuncs among them.
const inBtf = (module: string, name: string) =>
  [module, "vmlinux"].some((file) => {
    const path = `/sys/kernel/btf/${file}`;
    return existsSync(path) && readFileSync(path).includes(`\0${name}\0`);
  });

function canOpen(path: string): boolean {
  try {
    closeSync(openSync(path, "r+"));
    return true;
  } catch {
    return false;
  }
}

const FEATURES = {
  esp: {
    since: "2.6",
    what: "ESP by ip xfrm",
    config: ["CONFIG_XFRM_USER", "CONFIG_INET_ESP"],
    // Counting SAs, or adding a policy, works without ESP as well.
    probe: () =>
      ipWorks(
        `xfrm state add src 192.0.2.1 dst 192.0.2.2 proto esp spi 0x1000 mode tunnel aead rfc4106(gcm(aes)) 0x${"0".repeat(40)} 128`,
      ),
  },
  xfrm_interface: {
    since: "4.19",
    what: "xfrm interfaces",
    config: ["CONFIG_XFRM_INTERFACE"],
    probe: () => ipWorks("link add probe0 type xfrm if_id 1"),
  },
  "xfrm-external": {
    since: "6.1",
    what: "collect_md xfrm interfaces",
    config: ["CONFIG_XFRM_INTERFACE"],
    probe: () => ipWorks("link add probe0 type xfrm external"),
  },
  "lwt-xfrm": {
    since: "6.1",
    what: "route encap xfrm",
    config: ["CONFIG_XFRM_INTERFACE", "CONFIG_LWTUNNEL"],
    probe: () =>
      ipWorks(
        "link add probe0 type xfrm external",
        "link set probe0 up",
        "route add 192.0.2.1/32 dev probe0 encap xfrm if_id 1",
      ),
  },
  "bpf-kfunc": {
    since: "6.2",
    what: "bpf_skb_set_xfrm_info",
    config: ["CONFIG_XFRM_INTERFACE", "CONFIG_DEBUG_INFO_BTF", "CONFIG_BPF_SYSCALL"],
    probe: async () =>
      (await ipWorks("link add probe0 type xfrm if_id 1")) &&
      inBtf("xfrm_interface", "bpf_skb_set_xfrm_info"),
  },
  tcx: {
    since: "6.6",
    what: "tcx",
    config: ["CONFIG_NET_XGRESS", "CONFIG_BPF_SYSCALL"],
    probe: async () => inBtf("vmlinux", "tcx_prog_attach"),
  },
  vrf: {
    since: "4.3",
    what: "VRF devices",
    config: ["CONFIG_NET_VRF"],
    probe: () => ipWorks("link add probe0 type vrf table 10"),
  },
  tun: {
    since: "2.4",
    what: "TUN devices",
    config: ["CONFIG_TUN"],
    probe: async () => canOpen("/dev/net/tun"),
  },
  bpftool: {
    since: "4.15",
    what: "bpftool",
    config: [],
    otherwise: "needs bpftool; install it",
    probe: async () =>
      await tryCommand("bpftool", ["version"]).then(
        ({ status }) => status === 0,
        () => false,
      ),
  },
  "second-libbpf": {
    since: "4.15",
    what: "two versions of libbpf",
    config: [],
    otherwise:
      "needs a second version of libbpf, which a VM brings (--vm) where Debian's mirror can be reached",
    probe: async () => existsSync(SECOND_LIBBPF),
  },
  "own-kernel": {
    since: "2.6",
    what: "a kernel of its own",
    config: [],
    otherwise: "changes the kernel for everybody, and so runs in a VM only (--vm)",
    probe: async () => process.env.XFRM_STEER_OUT !== undefined,
  },
} satisfies Record<string, Feature>;

/** What is known of a feature on this kernel. `fail`: the kernel is new enough, so its absence is a defect. */
export type FeatureVerdict = { have: true } | { have: false; verdict: "skip" | "fail"; why: string };

/** "6.12.107+deb13-cloud-amd64" to [6, 12, 107]. */
export function versionOf(kernelRelease: string): number[] {
  return (kernelRelease.match(/^\d+(\.\d+)*/)?.[0] ?? "0").split(".").map(Number);
}

/** Is `kernelRelease` Linux `since` or later? */
export function isAtLeast(kernelRelease: string, since: string): boolean {
  const have = versionOf(kernelRelease);
  for (const [index, wanted] of versionOf(since).entries()) {
    if ((have[index] ?? 0) !== wanted) return (have[index] ?? 0) > wanted;
  }
  return true;
}

/**
 * Says whether a lack of `feature` is to be skipped over: an older kernel, or one built without it.
 * @param config the kernel's build options, where they can be read.
 */
export function judgeLack(
  feature: Pick<Feature, "since" | "what" | "config">,
  kernelRelease: string,
  config: string | undefined,
): FeatureVerdict {
  const version = versionOf(kernelRelease).join(".");
  const needs = `needs Linux ${feature.since} (${feature.what}), this is ${version}`;
  if (!isAtLeast(kernelRelease, feature.since)) return { have: false, verdict: "skip", why: needs };
  const off = config && feature.config.find((option) => !new RegExp(`^${option}=[ym]`, "m").test(config));
  if (off)
    return {
      have: false,
      verdict: "skip",
      why: `needs ${feature.what}; this kernel is built without ${off}`,
    };
  return { have: false, verdict: "fail", why: `${needs} and should have it, but it was not found` };
}

function kernelConfig(): string | undefined {
  if (existsSync("/proc/config.gz")) return gunzipSync(readFileSync("/proc/config.gz")).toString();
  const path = [`/boot/config-${release()}`, `/lib/modules/${release()}/config`].find((file) =>
    existsSync(file),
  );
  return path && readFileSync(path, "utf8");
}

const probed = new Map<FeatureName, Promise<FeatureVerdict>>();

/** Probes a feature of this kernel, once per process. */
export function feature(name: FeatureName): Promise<FeatureVerdict> {
  let verdict = probed.get(name);
  if (!verdict) {
    verdict = probeFeature(FEATURES[name]);
    probed.set(name, verdict);
  }
  return verdict;
}

async function probeFeature(wanted: Feature): Promise<FeatureVerdict> {
  if (await wanted.probe()) return { have: true };
  if (wanted.otherwise !== undefined) return { have: false, verdict: "skip", why: wanted.otherwise };
  return judgeLack(wanted, release(), kernelConfig());
}
