import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { TcxLink } from "libbpf-ts";
import { socketAddress, UdpSocket } from "../../netns-socket.js";
import { scenario } from "../../scenario.js";
import { kernelBpf } from "../contract/kernel-subject.js";
import { buildHub, routeInto, TOPOLOGY } from "../contract/steering.js";
import { policyOf } from "../contract/subject.js";
import { packetsBySpi } from "../hub.js";
import { interfacePins } from "./pin-folder.js";

const SWAPS = 200;
const PACKETS = 50_000;
/** Datagrams to each of the two peers at a time. The pause lets the timer put them at any point of an apply. */
const BURST = 25;
const PAUSE_MS = 50;
const DISCARD = 9;

/**
 * The two generations have the connections in another order, so that half of one with half of the other is a wrong SA.
 * Datagrams go one way: what is lost on the way back is no matter of the swap.
 */
export const manySwaps = scenario({
  name: "kernel-bpf-200-swaps-under-50000-packets",
  topology: TOPOLOGY,
  needs: kernelBpf.needs,
  limitMs: 600_000,
  typicalMs: 100_000,
  async run(t) {
    const { hub, branches } = await buildHub(t, kernelBpf);
    const [a, b] = branches;
    const policies = [policyOf(kernelBpf, [a, b]), policyOf(kernelBpf, [b, a])] as const;
    // Somebody listens, so that no ICMP errors come back.
    const discards = branches.map(({ peer, inner }) => new UdpSocket(peer.path, addressOf(inner), DISCARD));
    const sender = new UdpSocket(hub.ns.path, "0.0.0.0");
    const destinations = branches.map(({ inner }) => socketAddress(addressOf(inner), DISCARD));
    const data = Buffer.alloc(32);
    let sent = 0;
    const burst = () => {
      for (let i = 0; i < BURST; i++) for (const to of destinations) sender.sendTo(data, to);
      sent += BURST;
    };
    /** Packets that each peer decrypted, by SPI. */
    const arrived = async () => Promise.all(branches.map(({ peer }) => packetsBySpi(peer)));
    const all = (each: number) => [{ "0x1000": each }, { "0x2000": each }];
    try {
      await hub.use(async () => {
        await hub.apply(policies[0]);
        await routeInto(hub);
        await t.step(`${SWAPS} swaps: each packet arrives, by its own SA`, async () => {
          const started = performance.now();
          let swaps = 0;
          const swapping = async () => {
            while (swaps < SWAPS) {
              await hub.apply(policies[(swaps + 1) % 2] as string);
              swaps++;
              if (swaps % 25 === 0) t.note(`${swaps} swaps, ${sent * branches.length} packets`);
            }
          };
          const traffic = async () => {
            while (swaps < SWAPS || sent * branches.length < PACKETS) {
              // Packets keep step with the swaps: neither goes on without the other.
              if (sent * branches.length < (PACKETS * (swaps + 1)) / SWAPS) burst();
              await delay(PAUSE_MS);
            }
          };
          await Promise.all([swapping(), traffic()]);
          t.note(`${Math.round(performance.now() - started)} ms`);
          await t.eventually("packets per SPI, a's and b's", arrived, all(sent));
        });
        await t.step("all generations counted them", async () => {
          const status = await hub.status();
          t.expect("generation", status?.generation, SWAPS + 1);
          const counted = Object.fromEntries(
            status?.connections.map(({ name, sent }) => [name, sent.packets]) ?? [],
          );
          t.expect("sent", counted, { a: sent, b: sent });
        });
        await t.step("a swap in two steps, first off and then on again, loses packets", async () => {
          const before = sent;
          using link = TcxLink.openPinned(join(interfacePins(hub.ns), "egress"));
          link.detach();
          burst();
          await hub.apply(policies[1]);
          burst();
          await t.eventually("packets per SPI", arrived, all(before + BURST));
        });
      });
    } finally {
      sender.close();
      for (const discard of discards) discard.close();
    }
  },
});

/** The IPv4 address that a peer is known by. */
function addressOf(inner: readonly string[]): string {
  return (inner[0] as string).replace(/\/.*/, "");
}
