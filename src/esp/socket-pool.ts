import { ENGINE_MARK } from "../sys/engine-mark.js";
import { close } from "../sys/libc.js";
import { scopedText } from "../sys/sockaddr.js";
import { filterSocket, openEspSocket, openUdpGroup, openUdpSocket } from "../sys/udp.js";
import type { CheckedConnection } from "./connection.js";
import type { SocketSpec } from "./messages.js";
import type { Queues } from "./queues.js";

/** The sockets of one local address and port: one for each queue. */
export type SocketGroup = readonly SocketSpec[];

/**
 * Sockets by local address and port, or by the address alone for bare ESP; connections share them. The link is part
 * of it only where bind(2) binds to the link as well, which it does for a link-local address (__inet6_bind and
 * rawv6_bind in net/ipv6): else each packet names the link that it leaves by, as flowi_oif does in the kernel.
 */
export class SocketPool {
  readonly #queues: Queues;
  readonly #open = new Map<string, SocketGroup>();

  constructor(queues: Queues) {
    this.#queues = queues;
  }

  /**
   * Finds or opens the sockets of each connection, in the calling thread's network namespace.
   * @returns them in order
   * @throws SystemError when one cannot be opened; call `retain` to close those opened before it
   */
  resolve(connections: readonly CheckedConnection[]): readonly SocketGroup[] {
    return connections.map((connection) => {
      const { localAddress, localPort, encapsulation, link } = connection;
      const local = scopedText(localAddress, link);
      const key = `${local} ${encapsulation === "udp" ? localPort : "esp"}`;
      const fds = (): number[] =>
        encapsulation === "udp" ? this.#openUdp(connection) : this.#openRaw(connection);
      const group = this.#open.get(key) ?? fds().map((fd) => ({ fd, local, encapsulation }));
      this.#open.set(key, group);
      return group;
    });
  }

  #openUdp({ localAddress, localPort, link }: CheckedConnection): number[] {
    const { count } = this.#queues;
    if (count === 1) return [openUdpSocket(localAddress, localPort, link, ENGINE_MARK)];
    return openUdpGroup(localAddress, localPort, link, count, this.#queues.udpProgram, ENGINE_MARK);
  }

  #openRaw({ localAddress, link }: CheckedConnection): number[] {
    const { count } = this.#queues;
    const fds: number[] = [];
    try {
      for (let queue = 0; queue < count; queue++) {
        const fd = openEspSocket(localAddress, link, ENGINE_MARK);
        fds.push(fd);
        if (count > 1) filterSocket(fd, this.#queues.rawProgram(queue));
      }
    } catch (error) {
      for (const fd of fds) close(fd);
      throw error;
    }
    return fds;
  }

  /** Closes every socket that is not of these. */
  retain(groups: readonly SocketGroup[]): void {
    const kept = new Set(groups);
    for (const [key, group] of this.#open) {
      if (kept.has(group)) continue;
      this.#open.delete(key);
      for (const { fd } of group) close(fd);
    }
  }
}
