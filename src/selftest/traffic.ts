import { createSocket, type Socket } from "node:dgram";
import { once } from "node:events";
import { createServer, Socket as TcpSocket } from "node:net";
import type { Namespace } from "./namespace.js";
import { boundSocket } from "./netns-socket.js";
import { PATIENCE_MS } from "./patience.js";

export interface FlowOptions {
  from: Namespace;
  /** Source address; default any. */
  source?: string;
  /** Source port; default any free one. */
  sourcePort?: number;
  to: Namespace;
  /** Destination address. */
  address: string;
  /** Destination port, on which `to` listens; default any free one. */
  port?: number;
  /** What to send as payload, repeated to `size`. */
  marker?: string;
}

export interface UdpOptions extends FlowOptions {
  /** Datagrams; default 10. */
  count?: number;
  /** Payload bytes of each; default 64. */
  size?: number;
  /** How long to wait for datagrams that do not come: LOSS_MS where none is expected; default 10 s. */
  waitMs?: number | undefined;
}

export interface TcpOptions extends FlowOptions {
  /** Bytes to send; default 100 000. */
  bytes?: number;
  /** How long all of it may take: LOSS_MS where nothing is expected; default 10 s. */
  waitMs?: number | undefined;
}

const anyAddress = (like: string) => (like.includes(":") ? "::" : "0.0.0.0");

function payload(size: number, marker = "xfrm-steer "): Buffer {
  return Buffer.alloc(size, marker);
}

async function udpSocket(namespace: Namespace, address: string, port: number): Promise<Socket> {
  const socket = createSocket(address.includes(":") ? "udp6" : "udp4");
  // Given a descriptor, bind() emits the event before it returns.
  const listening = once(socket, "listening");
  socket.bind({ fd: boundSocket(namespace.path, "udp", address, port) });
  await listening;
  return socket;
}

/** Sends datagrams one way and counts those that arrive. Sending errors count as not sent. */
export async function udpFlow(options: UdpOptions): Promise<{ sent: number; received: number }> {
  const { from, to, address, count = 10, size = 64, waitMs = PATIENCE_MS } = options;
  const any = anyAddress(address);
  const receiver = await udpSocket(to, any, options.port ?? 0);
  try {
    const sender = await udpSocket(from, options.source ?? any, options.sourcePort ?? 0);
    try {
      let received = 0;
      let sent = 0;
      const all = new Promise<void>((resolve) => {
        receiver.on("message", () => {
          received++;
          if (received === count) resolve();
        });
      });
      const { port } = receiver.address();
      const data = payload(size, options.marker);
      for (let index = 0; index < count; index++) {
        const refused = await new Promise<Error | null>((resolve) =>
          sender.send(data, port, address, resolve),
        );
        if (!refused) sent++;
      }
      await within(all, waitMs);
      return { sent, received };
    } finally {
      sender.close();
    }
  } finally {
    receiver.close();
  }
}

/** Sends bytes over one TCP connection and counts those that arrive before its end, or the time limit. */
export async function tcpFlow(options: TcpOptions): Promise<{ sent: number; received: number }> {
  const { from, to, address, bytes = 100_000, waitMs = PATIENCE_MS } = options;
  const any = anyAddress(address);
  let received = 0;
  const connections = new Set<TcpSocket>();
  const server = createServer();
  const all = new Promise<void>((resolve) => {
    server.on("connection", (socket) => {
      connections.add(socket);
      socket.on("data", (chunk) => {
        received += chunk.length;
      });
      socket.on("error", () => resolve()).on("end", () => resolve());
    });
  });
  server.listen({ fd: boundSocket(to.path, "tcp", any, options.port ?? 0) });
  await once(server, "listening");
  const client = new TcpSocket({
    fd: boundSocket(from.path, "tcp", options.source ?? any, options.sourcePort ?? 0),
  });
  try {
    // A connection that is refused or times out is a result: nothing received.
    client.on("error", () => {});
    client.connect({ host: address, port: (server.address() as { port: number }).port });
    client.end(payload(bytes, options.marker));
    await within(all, waitMs);
    return { sent: bytes, received };
  } finally {
    client.destroy();
    for (const socket of connections) socket.destroy();
    server.close();
  }
}

async function within(done: Promise<void>, ms: number): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  await Promise.race([
    done,
    new Promise((resolve) => {
      timer = setTimeout(resolve, ms);
    }),
  ]);
  clearTimeout(timer);
}

export interface ExchangeOptions {
  from: Namespace;
  source: string;
  to: Namespace;
  address: string;
  /** Every source port connects to every destination port. */
  sourcePorts: readonly number[];
  ports: readonly number[];
}

/** Opens TCP connections, one source port's at a time, and counts those on which a byte came back. */
export async function tcpExchanges(options: ExchangeOptions): Promise<number> {
  const { from, source, to, address, sourcePorts, ports } = options;
  const servers = ports.map((port) => {
    const server = createServer((socket) => {
      socket.on("error", () => {}).pipe(socket);
    });
    server.listen({ fd: boundSocket(to.path, "tcp", anyAddress(address), port) });
    return server;
  });
  const exchange = (sourcePort: number, port: number) =>
    new Promise<number>((resolve) => {
      const client = new TcpSocket({ fd: boundSocket(from.path, "tcp", source, sourcePort) });
      const done = (answered: number) => {
        clearTimeout(timer);
        client.resetAndDestroy();
        resolve(answered);
      };
      const timer = setTimeout(done, PATIENCE_MS, 0);
      client.on("error", () => done(0)).on("data", () => done(1));
      client.connect({ host: address, port }, () => client.write("?"));
    });
  try {
    let answered = 0;
    for (const sourcePort of sourcePorts) {
      const all = await Promise.all(ports.map((port) => exchange(sourcePort, port)));
      answered += all.reduce((sum, each) => sum + each, 0);
    }
    return answered;
  } finally {
    for (const server of servers) server.close();
  }
}
