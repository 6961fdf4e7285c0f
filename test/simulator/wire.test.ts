import { Peer } from "../../src/simulator/simulation/peer.js";
import { MARKER } from "../../src/simulator/simulation/traffic.js";
import { Wire } from "../../src/simulator/simulation/wire.js";
import { inNetns } from "../../src/sys/netns.js";
import { rootTest } from "../support/root-test.js";
import { ip, makeNamespace } from "../sys/namespace.js";

rootTest(
  "the simulation's wire counts a packet that carries in the clear what was sent, and no other",
  (t) => {
    const netns = makeNamespace(t);
    const peer = new Peer([], 0);
    t.teardown(() => peer.close());
    const wire = inNetns(netns, () => new Wire("wire0", peer));
    t.teardown(() => wire.tun.close());
    ip("-n", netns, "address", "add", "192.0.2.1/24", "dev", "wire0");
    ip("-n", netns, "link", "set", "wire0", "up");
    const send = (text: string) =>
      ip("netns", "exec", netns, "bash", "-c", 'printf %s "$0" > /dev/udp/192.0.2.2/9', text);
    send("what may be read");
    t.true(wire.serve() > 0);
    t.is(wire.plaintext, 0);
    send(`in front ${MARKER} behind`);
    t.true(wire.serve() > 0);
    t.is(wire.plaintext, 1);
  },
);
