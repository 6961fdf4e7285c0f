import { ContractError, SimulatedNic } from "../../../simulator/nic.js";
import { loadProfile } from "../../../simulator/profile.js";
import { type Scenario, scenario } from "../../scenario.js";
import { type AttachedOptions, attach, DEVICE } from "./attached.js";
import { udpFrame } from "./frames.js";

const IDEAL = loadProfile("ideal");
const SA: AttachedOptions = { suite: "aes128-gcm", mode: "tunnel" };
const WITH_OPTIONS = udpFrame({ payload: 100, options: 2 });
const PLAIN = udpFrame({ payload: 100 });
const BURST = udpFrame({ payload: 8000, segment: 1000 });
/** The number before the first, so that the lower half wraps in the middle of the burst. */
const NEAR_WRAP = 2 ** 32 - 5;
const TOPOLOGY = "outbound SA -- device -- inbound SA, in one thread";

const rule = (name: string, run: Scenario["run"]): Scenario =>
  scenario({ name: `offload-${name}`, host: true, topology: TOPOLOGY, run });

/** The stack's rules for single packets: net/xfrm/xfrm_device.c, xfrm_output.c and xfrm_input.c. */
export const rules: readonly Scenario[] = [
  rule("ip-options-crypto-mode", async (t) => {
    const { loopback } = attach(IDEAL, SA);
    t.expect("ESP packets", loopback.seal(WITH_OPTIONS).length, 1);
    const { hardware, software } = loopback.outCounted;
    t.expect("by the device, by software", [hardware, software], [0, 1]);
    loopback.close();
  }),
  rule("ip-options-packet-mode", async (t) => {
    const { loopback } = attach(IDEAL, { ...SA, type: "packet" });
    t.expect("ESP packets", loopback.seal(WITH_OPTIONS).length, 0);
    t.expect("xfrm_stat", loopback.statistics, { XfrmOutError: 1 });
    loopback.close();
  }),
  rule("gso-by-the-device", async (t) => {
    const { loopback } = attach(IDEAL, SA);
    t.expect("ESP packets", loopback.seal(BURST).length, 8);
    const { hardware, bursts } = loopback.outCounted;
    t.expect("by the device, GSO packets that it cut", [hardware, bursts], [8, 1]);
    loopback.close();
  }),
  rule("gso-without-the-feature", async (t) => {
    const { loopback } = attach(loadProfile("nfp"), SA);
    t.expect("ESP packets", loopback.seal(BURST).length, 8);
    const { hardware, bursts } = loopback.outCounted;
    t.expect("by the device, GSO packets that it cut", [hardware, bursts], [8, 0]);
    loopback.close();
  }),
  rule("wrap-within-gso", async (t) => {
    const { loopback } = attach(IDEAL, { ...SA, sequence: NEAR_WRAP });
    t.expect("ESP packets, and no more than there are numbers", loopback.seal(BURST).length, 4);
    const { hardware, software } = loopback.outCounted;
    t.expect("none by the device", hardware, 0);
    t.expect("segments by software", software > 0, true);
    t.expect("xfrm_stat", loopback.statistics, { XfrmOutStateSeqError: 4 });
    loopback.close();
  }),
  rule("esn-wrap-within-gso", async (t) => {
    const { loopback, offload } = attach(IDEAL, { ...SA, esn: true, sequence: NEAR_WRAP });
    const packets = loopback.seal(BURST);
    t.expect("ESP packets", packets.length, 8);
    t.expect("none by the device", loopback.outCounted.hardware, 0);
    t.expect("opened again", packets.filter((packet) => loopback.open(packet) !== null).length, 8);
    const [first] = offload.stack.states;
    const { esnHigh } = (offload.devices.get(DEVICE) as SimulatedNic).memoryOf(first?.handle ?? 0);
    t.expect("the device was told of the upper half", esnHigh, 1);
    t.expect("the next packet is the device's again", loopback.seal(PLAIN).length, 1);
    t.expect("by the device", loopback.outCounted.hardware, 1);
    loopback.close();
  }),
  rule("replay-is-the-stacks", async (t) => {
    const { loopback } = attach(IDEAL, SA);
    const [packet] = loopback.seal(PLAIN);
    if (packet === undefined) throw new Error("nothing was sealed");
    t.expect("the first is opened", loopback.open(packet) !== null, true);
    t.expect("the second is not", loopback.open(packet), null);
    t.expect("the device decrypted both", loopback.inCounted.hardware, 2);
    t.expect("xfrm_stat", loopback.statistics, { XfrmInStateSeqError: 1 });
    loopback.close();
  }),
  rule("forged-packet", async (t) => {
    const { loopback } = attach(IDEAL, SA);
    const [packet] = loopback.seal(PLAIN);
    if (packet === undefined) throw new Error("nothing was sealed");
    packet[packet.length - 1] = (packet.at(-1) ?? 0) ^ 1;
    t.expect("it is not opened", loopback.open(packet), null);
    t.expect("xfrm_stat", loopback.statistics, { XfrmInStateProtoError: 1 });
    loopback.close();
  }),
  rule("deleted-sa", async (t) => {
    const { loopback, offload } = attach(IDEAL, SA);
    for (const state of [...offload.stack.states]) offload.delete(state);
    t.expect("ESP packets", loopback.seal(PLAIN).length, 0);
    t.expect("xfrm_stat", loopback.statistics, { XfrmOutNoStates: 1 });
    t.expect("references to the device", offload.devices.get(DEVICE)?.references, 0);
    loopback.close();
  }),
  rule("feature-dependencies", async (t) => {
    const nic = new SimulatedNic(DEVICE, IDEAL.ports[0]);
    const refused = (work: () => void): boolean => {
      try {
        work();
        return false;
      } catch (error) {
        if (error instanceof ContractError) return true;
        throw error;
      }
    };
    const off = (feature: "esp-hw-offload" | "esp-tx-csum-hw-offload") => () =>
      nic.setFeature(feature, false);
    t.expect("esp-hw-offload alone cannot go", refused(off("esp-hw-offload")), true);
    t.expect("what depends on it can", refused(off("esp-tx-csum-hw-offload")), false);
    t.expect("and then it can", refused(off("esp-hw-offload")), false);
  }),
];
