import type { OffloadState } from "../../../esp/offload/contract.js";
import { OffloadStack } from "../../../esp/offload/stack.js";
import { createDevice } from "../../../simulator/device.js";
import { loopbackState } from "../../../simulator/loopback.js";
import { loadProfile } from "../../../simulator/profile.js";
import { type Scenario, scenario } from "../../scenario.js";
import { DEVICE } from "./attached.js";
import { inWords } from "./limits.js";

const BASE = loopbackState("out", "crypto", { suite: "aes128-gcm", mode: "transport" });
type Case = readonly [change: Partial<OffloadState>, answer: string];

/** What each driver answers, from its source. */
const CASES: Readonly<Record<string, readonly Case[]>> = {
  ixgbe: [
    [{}, "offloaded"],
    [{ mode: "tunnel" }, "EINVAL: Unsupported mode for ipsec offload"],
    [
      { suite: "aes256-gcm" },
      "EINVAL: IPsec hw offload only supports keys up to 128 bits with a 32 bit salt",
    ],
    [{ esn: true }, "EINVAL: Device doesn't support offload with ESN"],
    [{ type: "packet" }, "EINVAL: Policy offload is not supported"],
  ],
  "mlx5-crypto": [
    [{ mode: "tunnel", suite: "aes256-gcm", esn: true }, "offloaded"],
    [{ encapsulation: "udp" }, "EINVAL: Encapsulation is supported in packet offload mode only"],
    [{ mode: "beet" }, "EINVAL: Only transport and tunnel xfrm states may be offloaded"],
    [
      { suite: "aes128-cbc-sha256" },
      "EINVAL: Cannot offload xfrm states with AEAD key length other than 128/256 bit",
    ],
  ],
  "mlx5-packet": [
    [{ type: "packet", mode: "tunnel" }, "offloaded"],
    [{ type: "packet", encapsulation: "udp" }, "offloaded"],
    [
      { type: "packet", encapsulation: "udp", mode: "tunnel" },
      "EINVAL: Encapsulation is supported in transport mode only",
    ],
    [{ type: "packet", reqid: 0 }, "EINVAL: Cannot offload policy without reqid"],
    [{ type: "packet", direction: "in", esn: true, replayWindow: 128 }, "offloaded"],
    [
      { type: "packet", direction: "in", esn: true, replayWindow: 1024 },
      "EINVAL: Unsupported replay window size",
    ],
  ],
  nfp: [
    [{ mode: "tunnel", suite: "aes256-gcm" }, "offloaded"],
    [{ mode: "beet" }, "EINVAL: Unsupported mode for xfrm offload"],
    [{ esn: true }, "EINVAL: Device doesn't support offload with ESN"],
  ],
  cn10k: [
    [{ mode: "tunnel" }, "offloaded"],
    [{ direction: "in" }, "software: sim0: xfrm inbound offload not supported (EOPNOTSUPP)"],
    [{ encapsulation: "udp" }, "EINVAL: Encapsulated xfrm state may not be offloaded"],
    [{ suite: "chacha20-poly1305" }, "EINVAL: Only AES-GCM-ICV16 xfrm state may be offloaded"],
  ],
  netdevsim: [
    [{ mode: "tunnel" }, "offloaded"],
    [
      { suite: "aes256-gcm" },
      "EINVAL: IPsec hw offload only supports 128 bit keys with optional 32 bit salt",
    ],
    [{ esn: true }, "EINVAL: Device doesn't support offload with ESN"],
  ],
  bonding: [
    [{ mode: "tunnel", esn: true }, "offloaded"],
    [{ type: "packet" }, "EINVAL: Policy offload is not supported"],
  ],
  ideal: [
    [{ type: "packet", mode: "beet", suite: "chacha20-poly1305", esn: true, reqid: 0 }, "offloaded"],
    [{ tfcpad: 1200 }, "EINVAL: TFC padding can't be offloaded"],
  ],
};

export const refusals: readonly Scenario[] = Object.entries(CASES).map(([name, cases]) =>
  scenario({
    name: `offload-refusals-${name}`,
    host: true,
    topology: `SAs offered to one device, ${name}`,
    async run(t) {
      for (const [change, answer] of cases) {
        await t.step(`${JSON.stringify(change)}: ${answer}`, async () => {
          const device = createDevice(DEVICE, loadProfile(name));
          const verdict = new OffloadStack().add({ ...BASE, ...change }, device);
          t.expect("the answer", inWords(verdict), answer);
          t.expect("references to the device", device.references > 0, answer === "offloaded");
        });
      }
    },
  }),
);
