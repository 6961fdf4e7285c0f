import { randomBytes } from "node:crypto";
import type { OffloadType } from "../../../esp/offload/contract.js";
import { keymatSize, type SuiteName } from "../../../esp/suite.js";
import { Loopback } from "../../../simulator/loopback.js";
import { loadProfile, profileNames } from "../../../simulator/profile.js";
import { type Scenario, scenario } from "../../scenario.js";
import { attach } from "./attached.js";
import { udpFrame } from "./frames.js";

const FRAMES = [1, 2, 3, 4, 5, 333, 1400].map((payload) => udpFrame({ payload }));
const BURST = udpFrame({ payload: 9000, segment: 1000 });

/** The sequence number of an ESP packet (RFC 4303 section 2.2). */
const sequenceOf = (packet: Buffer): number => packet.readUInt32BE(4);

/** What each profile takes: the mode, and the suites. */
const TAKES: Readonly<Record<string, readonly SuiteName[]>> = {
  ixgbe: ["aes128-gcm"],
  netdevsim: ["aes128-gcm"],
};

export const identical: readonly Scenario[] = profileNames().map((name) =>
  scenario({
    name: `offload-identical-${name}`,
    host: true,
    topology: "one SA with a device, one without: the same key, sequence numbers and IVs",
    async run(t) {
      const profile = loadProfile(name);
      const types: OffloadType[] = profile.ports[0].operations.includes("policy_add")
        ? ["crypto", "packet"]
        : ["crypto"];
      for (const suite of TAKES[name] ?? (["aes128-gcm", "aes256-gcm"] as const)) {
        for (const type of types) {
          await t.step(`${suite}, ${type} offload`, async () => {
            const keymat = randomBytes(keymatSize(suite));
            const plain = new Loopback({ suite, mode: "transport", keymat });
            const { loopback, out } = attach(profile, { suite, mode: "transport", type, keymat });
            try {
              t.expect("the device takes the SA", out, true);
              const both = [plain, loopback].map((each) =>
                [...FRAMES, BURST].flatMap((frame) =>
                  each.seal(frame).toSorted((a, b) => sequenceOf(a) - sequenceOf(b)),
                ),
              );
              const [expected = [], seen = []] = both.map((packets) =>
                packets.map((each) => each.toString("hex")),
              );
              t.expect("packets", expected.length, FRAMES.length + 9);
              t.expect("ESP packets", seen, expected);
              t.expect("packets that the device encrypted", loopback.outCounted.hardware, expected.length);
              const opened = seen.map((packet) => loopback.open(Buffer.from(packet, "hex")) !== null);
              t.expect("packets that are opened again", opened.filter(Boolean).length, expected.length);
            } finally {
              plain.close();
              loopback.close();
            }
          });
        }
      }
    },
  }),
);
