import { IpError, ipBatch } from "../../src/sys/ip.js";
import { withNetns } from "../support/netns.js";
import { rootTest } from "../support/root-test.js";

rootTest("a batch that fails names its line, and nothing of the others", (t) =>
  withNetns((ns) => {
    const lines = ["link set lo mtu 1000", "link set absent up", "link set lo mtu 2000"];
    const error = t.throws(() => ns.run(() => ipBatch(lines)), { instanceOf: IpError });
    t.is(error.message, 'ip link set absent up: Cannot find device "absent"');
    t.regex(ns.ip("link show dev lo"), /mtu 1000/);
  }),
);
