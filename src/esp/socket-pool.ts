import { close } from "../sys/libc.js";
import { openUdpSocket } from "../sys/udp.js";
import type { CheckedConnection } from "./connection.js";
import type { SocketSpec } from "./messages.js";

/**
 * UDP sockets by local address and port; connections share them. The link is not part of it: each packet names the
 * link that it leaves by, as flowi_oif does in the kernel.
 */
export class SocketPool {
  readonly #open = new Map<string, SocketSpec>();

  /**
   * Finds or opens the socket of each connection, in the calling thread's network namespace.
   * @returns them in order
   * @throws SystemError when one cannot be opened; call `retain` to close those opened before it
   */
  resolve(connections: readonly CheckedConnection[]): readonly SocketSpec[] {
    return connections.map(({ localAddress, localPort, link }) => {
      const key = `${localAddress.text} ${localPort}`;
      const socket = this.#open.get(key) ?? {
        fd: openUdpSocket(localAddress, localPort, link),
        local: localAddress.text,
      };
      this.#open.set(key, socket);
      return socket;
    });
  }

  /** Closes every socket that is not among these. */
  retain(sockets: readonly SocketSpec[]): void {
    const kept = new Set(sockets);
    for (const [key, socket] of this.#open) {
      if (kept.has(socket)) continue;
      this.#open.delete(key);
      close(socket.fd);
    }
  }
}
