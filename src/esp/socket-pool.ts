import { close } from "../sys/libc.js";
import { openEspSocket, openUdpSocket } from "../sys/udp.js";
import type { CheckedConnection } from "./connection.js";
import type { SocketSpec } from "./messages.js";

/**
 * Sockets by local address and port, or by the address alone for bare ESP; connections share them. The link is not part of it: each packet names the
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
    return connections.map(({ localAddress, localPort, link, encapsulation }) => {
      const udp = encapsulation === "udp";
      const key = `${localAddress.text} ${udp ? localPort : "esp"}`;
      const socket = this.#open.get(key) ?? {
        fd: udp ? openUdpSocket(localAddress, localPort, link) : openEspSocket(localAddress, link),
        local: localAddress.text,
        encapsulation,
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
