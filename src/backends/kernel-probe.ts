import { release } from "node:os";
import { btfHas, kernelAtLeast, mayMakeNetns, tryInScratchNetns } from "../sys/kernel.js";
import type { Probe } from "./backend.js";

/**
 * What the kernel backends need, found by trying it in a scratch network namespace. Each function returns null where
 * the feature is there, else one clause that says what is lacking and who has it.
 */

/** Of a backend whose features may not be tried. */
export const NOT_KNOWN: Probe = { available: null, reason: "not known without root; run it with sudo" };

const no = (reason: string): Probe => ({ available: false, reason });

function lacksExternalInterface(): string | null {
  if (!kernelAtLeast(6, 1))
    return `Linux ${release()} has no external xfrm interface; Linux 6.1 and later have it`;
  const said = tryInScratchNetns("ip link add probe0 type xfrm external");
  if (said === null) return null;
  return `this kernel (${release()}) cannot make an external xfrm interface (${said}); take one with CONFIG_XFRM_INTERFACE`;
}

/** The probe's SA is never used: it exists for the moment of the probe, in a namespace without links. */
const PROBE_SA =
  "ip xfrm state add src 192.0.2.1 dst 192.0.2.2 proto esp spi 0x100 mode tunnel " +
  `aead 'rfc4106(gcm(aes))' 0x${"00".repeat(20)} 128`;

function lacksEsp(): string | null {
  const said = tryInScratchNetns(PROBE_SA);
  if (said === null) return null;
  return `this kernel (${release()}) has no ESP with AES-GCM (${said}); take one with CONFIG_INET_ESP and CONFIG_CRYPTO_GCM`;
}

function lacksKfuncs(): string | null {
  if (btfHas("bpf_skb_set_xfrm_info", "xfrm_interface")) return null;
  if (!kernelAtLeast(6, 2))
    return `Linux ${release()} has no bpf_skb_set_xfrm_info; Linux 6.2 and later have it`;
  return "the BTF of this kernel and of its xfrm_interface module has no bpf_skb_set_xfrm_info; take one with CONFIG_DEBUG_INFO_BTF_MODULES";
}

function lacksLwt(): string | null {
  const said = tryInScratchNetns(
    "ip link set lo up && ip route add 203.0.113.0/24 dev lo encap xfrm if_id 1",
  );
  if (said === null) return null;
  return `this kernel (${release()}) has no xfrm routes (${said}); Linux 6.1 and later with CONFIG_XFRM_INTERFACE and CONFIG_LWTUNNEL have them`;
}

export function probeKernelBpf(): Probe {
  if (!mayMakeNetns()) return NOT_KNOWN;
  const lacking = lacksExternalInterface() ?? lacksKfuncs() ?? lacksEsp();
  return lacking === null
    ? { available: true, reason: "external xfrm interface, bpf_skb_set_xfrm_info and ESP are there" }
    : no(lacking);
}

export function probeKernelLwt(): Probe {
  if (!mayMakeNetns()) return NOT_KNOWN;
  const lacking = lacksExternalInterface() ?? lacksLwt() ?? lacksEsp();
  return lacking === null
    ? {
        available: true,
        reason: "external xfrm interface, xfrm routes and ESP are there; destination prefixes only",
      }
    : no(lacking);
}
