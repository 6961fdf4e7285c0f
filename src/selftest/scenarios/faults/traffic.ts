import { UdpSocket } from "../../netns-socket.js";
import type { Branch } from "../contract/subject.js";
import { markOf } from "./wires.js";

const PORT = 7777;
const INTERVAL_MS = 5;

/** Datagrams from the hub to every branch, IPv4 and IPv6, and from every branch to the hub, until it is stopped. */
export function tenantsTraffic(branches: readonly Branch[]): { stop(): void; sent(): number } {
  let sent = 0;
  const senders = branches.flatMap((branch) => {
    const data = Buffer.alloc(200, markOf(branch));
    const ways = [
      { from: branch.hub, any: "0.0.0.0", to: `10.${branch.ifId}.0.1` },
      { from: branch.hub, any: "::", to: `fd00:${branch.ifId}::1` },
      { from: branch.peer, any: `10.${branch.ifId}.0.1`, to: "10.0.0.1" },
    ];
    return ways.map(({ from, any, to }) => ({ socket: new UdpSocket(from.path, any), data, to }));
  });
  const timer = setInterval(() => {
    for (const { socket, data, to } of senders)
      try {
        socket.send(data, to, PORT);
        sent++;
      } catch {
        // Unreachable is a right answer while nothing serves.
      }
  }, INTERVAL_MS);
  return {
    sent: () => sent,
    stop: () => {
      clearInterval(timer);
      for (const { socket } of senders) socket.close();
    },
  };
}
