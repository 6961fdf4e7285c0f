/**
 * Makes and counts traffic inside one network namespace: a process of its own, as sockets belong to the namespace of
 * the thread that opens them. Answers the requests of agent-client.ts over IPC and ends with its parent.
 */
import { createSocket } from "node:dgram";
import { once } from "node:events";
import { createConnection, createServer, type Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { enterNetns } from "../sys/netns.js";
import type { AgentRequest, Counted } from "./agent-client.js";

const [, , netns = ""] = process.argv;
enterNetns(netns);
process.on("disconnect", () => process.exit());

/** Received by this agent's servers, by "udp ADDRESS PORT" or "tcp ADDRESS PORT". */
const counted: Counted = {};
const count = (key: string, amount: number) => {
  counted[key] = (counted[key] ?? 0) + amount;
};

const CHUNK = Buffer.alloc(64 << 10, "xfrm-steer demo ");

const operations: { [K in AgentRequest["operation"]]: (request: never) => Promise<unknown> } = {
  /** Takes all that a client sends, then sends as much back. */
  async tcpListen({ address, port }: { address: string; port: number }) {
    const server = createServer({ allowHalfOpen: true }, async (socket) => {
      try {
        const received = await receive(socket);
        count(`tcp ${address} ${port}`, received);
        await send(socket, received);
      } catch {
        socket.destroy(); // the client has gone; its own count shows what is missing
      }
    });
    server.listen(port, address);
    await once(server, "listening");
  },

  async udpListen({ address, port }: { address: string; port: number }) {
    const socket = createSocket({ type: address.includes(":") ? "udp6" : "udp4", recvBufferSize: 4 << 20 });
    socket.on("message", () => count(`udp ${address} ${port}`, 1));
    socket.bind(port, address);
    await once(socket, "listening");
  },

  async tcpTransfer(request: { from: string; to: string; port: number; bytes: number }) {
    const { from, to, port, bytes } = request;
    const started = performance.now();
    const socket = createConnection({ host: to, port, localAddress: from, allowHalfOpen: true });
    await once(socket, "connect");
    const download = receive(socket);
    await send(socket, bytes);
    const received = await download;
    return { received, seconds: (performance.now() - started) / 1000 };
  },

  async udpSend(request: { from: string; to: string; port: number; packets: number; size: number }) {
    const { from, to, port, packets, size } = request;
    const socket = createSocket(to.includes(":") ? "udp6" : "udp4");
    socket.bind(0, from);
    await once(socket, "listening");
    for (let i = 0; i < packets; i++) {
      await new Promise<void>((resolve, reject) =>
        socket.send(CHUNK.subarray(0, size), port, to, (error) => (error ? reject(error) : resolve())),
      );
      if (i % 10 === 9) await sleep(1); // a burst must fit the receiver's queue
    }
    socket.close();
  },

  async counted() {
    return counted;
  },
};

/** Counts the bytes up to the other side's FIN. */
async function receive(socket: Socket): Promise<number> {
  let received = 0;
  socket.on("data", (chunk) => {
    received += chunk.length;
  });
  await once(socket, "end");
  return received;
}

/** Sends `bytes` and half-closes. */
async function send(socket: Socket, bytes: number): Promise<void> {
  for (let left = bytes; left > 0; left -= CHUNK.length) {
    if (!socket.write(CHUNK.subarray(0, Math.min(left, CHUNK.length)))) await once(socket, "drain");
  }
  socket.end();
}

process.on("message", async ({ id, request }: { id: number; request: AgentRequest }) => {
  try {
    process.send?.({ id, result: await operations[request.operation](request as never) });
  } catch (error) {
    process.send?.({ id, error: error instanceof Error ? error.message : String(error) });
  }
});
process.send?.({ id: 0 });
