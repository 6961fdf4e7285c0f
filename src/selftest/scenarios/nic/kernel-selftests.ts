import type { OffloadState } from "../../../esp/offload/contract.js";
import { OffloadStack } from "../../../esp/offload/stack.js";
import { SimulatedBond } from "../../../simulator/bond.js";
import { SimulatedNic } from "../../../simulator/nic.js";
import { loadProfile } from "../../../simulator/profile.js";
import { textView } from "../../../simulator/text-view.js";
import { type Scenario, scenario } from "../../scenario.js";
import { attach, DEVICE } from "./attached.js";
import { udpFrame } from "./frames.js";

/** The key of the kernel's selftest, which is no secret: 16 bytes of key, 4 of salt. */
const PUBLISHED = Buffer.from("1234567890123456dcba");

const SA: OffloadState = {
  direction: "out",
  type: "crypto",
  spi: 9,
  source: "192.168.123.3",
  destination: "192.168.123.4",
  family: 4,
  mode: "transport",
  suite: "aes128-gcm",
  encapsulation: "none",
  esn: false,
  replayWindow: 64,
  reqid: 42,
  ifId: 0,
  tfcpad: 0,
};
const INBOUND: OffloadState = {
  ...SA,
  direction: "in",
  source: SA.destination,
  destination: SA.source,
};

export const kernelSelftests: readonly Scenario[] = [
  scenario({
    name: "offload-kci-test-ipsec-offload",
    host: true,
    topology: `
      tools/testing/selftests/net/rtnetlink.sh, kci_test_ipsec_offload
      192.168.123.3 simx1 (netdevsim) ---- 192.168.123.4
    `,
    async run(t) {
      const { loopback, offload, out } = attach(loadProfile("netdevsim"), {
        suite: "aes128-gcm",
        mode: "transport",
        keymat: PUBLISHED,
        states: { out: SA, in: INBOUND },
      });
      const port = offload.devices.get(DEVICE) as SimulatedNic;
      await t.step("three packets leave through the device", async () => {
        t.expect("the outbound SA is offloaded", out, true);
        for (let i = 0; i < 3; i++) loopback.seal(udpFrame({ payload: 56 }));
        loopback.close();
        t.expect("packets that it encrypted", port.transmitted, 3);
      });
      await t.step("the text view is that of the kernel's device", async () => {
        t.expect(
          "the view",
          textView(port, () => PUBLISHED),
          `SA count=2 tx=3
sa[0] tx ipaddr=0x00000000 00000000 00000000 00000000
sa[0]    spi=0x00000009 proto=0x32 salt=0x61626364 crypt=1
sa[0]    key=0x34333231 38373635 32313039 36353433
sa[1] rx ipaddr=0x00000000 00000000 00000000 037ba8c0
sa[1]    spi=0x00000009 proto=0x32 salt=0x61626364 crypt=1
sa[1]    key=0x34333231 38373635 32313039 36353433
`,
        );
      });
      await t.step("after a flush no SA is left", async () => {
        offload.stack.flush(port);
        t.expect("the view", textView(port), "SA count=0 tx=3\n");
        t.expect("references to the device", port.references, 0);
      });
    },
  }),
  scenario({
    name: "offload-bond-ipsec-offload",
    host: true,
    topology: `
      tools/testing/selftests/drivers/net/bonding/bond_ipsec_offload.sh
      bond0 (active-backup): eth0 (netdevsim), eth1 (netdevsim)
    `,
    async run(t) {
      const { ports } = loadProfile("netdevsim");
      const [eth0, eth1] = [new SimulatedNic("eth0", ports[0]), new SimulatedNic("eth1", ports[0])];
      const bond = new SimulatedBond("bond0", [eth0, eth1]);
      const stack = new OffloadStack();
      const counts = () => [eth0, eth1].map((port) => textView(port).split("\n")[0]);
      await t.step("two SAs are on the active port", async () => {
        stack.add(SA, bond);
        stack.add(INBOUND, bond);
        t.expect("SAs", counts(), ["SA count=2 tx=0", "SA count=0 tx=0"]);
      });
      await t.step("they move with it", async () => {
        bond.failover();
        t.expect("SAs", counts(), ["SA count=0 tx=0", "SA count=2 tx=0"]);
        bond.failover();
        t.expect("SAs", counts(), ["SA count=2 tx=0", "SA count=0 tx=0"]);
      });
      await t.step("a delete after a failover reaches the port that has them", async () => {
        bond.failover();
        for (const state of [...stack.states]) {
          stack.remove(state);
          stack.free(state);
        }
        t.expect("SAs", counts(), ["SA count=0 tx=0", "SA count=0 tx=0"]);
        t.expect("references to the bond", bond.references, 0);
      });
    },
  }),
];
