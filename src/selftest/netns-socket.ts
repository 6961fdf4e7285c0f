import { isIPv6 } from "node:net";
import { constants } from "node:os";
import ipaddr from "ipaddr.js";
import koffi from "koffi";
import { checked, inNamespace, SocketError } from "./netns.js";

const libc = koffi.load(null);
const socket = libc.func("int socket(int domain, int type, int protocol)");
const bind = libc.func("int bind(int fd, const void *address, uint32_t length)");
const setsockopt = libc.func(
  "int setsockopt(int fd, int level, int name, const void *value, uint32_t length)",
);
const getsockopt = libc.func("int getsockopt(int fd, int level, int name, void *value, void *length)");
// Node's own close() warns, in a worker thread, of a descriptor that it has not opened.
const close = libc.func("int close(int fd)");
const recv = libc.func("int64_t recv(int fd, void *buffer, size_t length, int flags)");
const sendto = libc.func(
  "int64_t sendto(int fd, const void *data, size_t length, int flags, const void *address, uint32_t size)",
);
const ifNameToIndex = libc.func("uint32_t if_nametoindex(const char *name)");

// <bits/socket.h>, <linux/if_packet.h>, <linux/if_ether.h>, <asm-generic/socket.h>
const AF_INET = 2;
const AF_INET6 = 10;
const AF_PACKET = 17;
const SOCK_STREAM = 1;
const SOCK_DGRAM = 2;
const SOCK_RAW = 3;
const SOCK_CLOEXEC = 0o2000000;
const ETH_P_ALL = 0x0003;
const IPPROTO_ICMP = 1;
const SOL_SOCKET = 1;
const SO_REUSEADDR = 2;
const SO_RCVBUFFORCE = 33;
const SOL_UDP = 17;
// <linux/udp.h>
const UDP_ENCAP = 100;
const UDP_ENCAP_ESPINUDP = 2;
const SOL_PACKET = 263;
const PACKET_STATISTICS = 6;
const MSG_DONTWAIT = 0x40;
const MSG_TRUNC = 0x20;

/** struct sockaddr_in or sockaddr_in6: family in host order, port in network order. */
export function socketAddress(address: string, port: number): Buffer {
  const bytes = Buffer.from(ipaddr.parse(address).toByteArray());
  const v6 = bytes.length === 16;
  const result = Buffer.alloc(v6 ? 28 : 16);
  result.writeUInt16LE(v6 ? AF_INET6 : AF_INET, 0);
  result.writeUInt16BE(port, 2);
  bytes.copy(result, v6 ? 8 : 4);
  return result;
}

/**
 * A UDP or TCP socket in a namespace, bound to an address and a port (0: any free one).
 * @returns its file descriptor, which the caller closes, or gives to Node.
 */
export function boundSocket(path: string, type: "udp" | "tcp", address: string, port: number): number {
  const local = socketAddress(address, port);
  return inNamespace(path, () => {
    const kind = (type === "udp" ? SOCK_DGRAM : SOCK_STREAM) | SOCK_CLOEXEC;
    const fd = checked(socket(isIPv6(address) ? AF_INET6 : AF_INET, kind, 0), `making a ${type} socket`);
    try {
      setInt(fd, SO_REUSEADDR, 1);
      checked(bind(fd, local, local.length), `binding to ${address} port ${port}`);
      return fd;
    } catch (error) {
      close(fd);
      throw error;
    }
  });
}

/** Sends an ICMP message, its checksum included, out of a namespace. */
export function sendIcmp(path: string, message: Buffer, address: string): void {
  const to = socketAddress(address, 0);
  const fd = inNamespace(path, () =>
    checked(socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_ICMP), "making a raw socket"),
  );
  try {
    checked(Number(sendto(fd, message, message.length, 0, to, to.length)), "sending an ICMP message");
  } finally {
    close(fd);
  }
}

/**
 * What the kernel receives ESP in UDP by (RFC 3948): a UDP socket with UDP_ENCAP set, on any address of a family.
 * @returns what closes it
 */
export function espInUdpSocket(path: string, anyAddress: "0.0.0.0" | "::", port: number): () => void {
  const fd = boundSocket(path, "udp", anyAddress, port);
  const value = Buffer.alloc(4);
  value.writeInt32LE(UDP_ENCAP_ESPINUDP);
  checked(setsockopt(fd, SOL_UDP, UDP_ENCAP, value, value.length), "setting UDP_ENCAP");
  return () => close(fd);
}

/** Received to by all sockets, one datagram at a time: filling 64 KiB with zeros for each is slow where it is emulated. */
const DATAGRAM = Buffer.alloc(65536);

/** A UDP socket that sends and receives without a turn of the event loop in between. */
export class UdpSocket {
  private readonly fd: number;

  /** @param port 0: any free one */
  constructor(path: string, address: string, port = 0) {
    this.fd = boundSocket(path, "udp", address, port);
  }

  /** @throws SocketError where the kernel refuses the datagram */
  send(data: Buffer, address: string, port: number): void {
    this.sendTo(data, socketAddress(address, port));
  }

  /** As send(), to what {@link socketAddress} has made once for many. */
  sendTo(data: Buffer, to: Buffer): void {
    checked(Number(sendto(this.fd, data, data.length, 0, to, to.length)), "sending a datagram");
  }

  /** @returns the next datagram, or null where none has come yet */
  receive(): Buffer | null {
    const size = Number(recv(this.fd, DATAGRAM, DATAGRAM.length, MSG_DONTWAIT));
    if (size >= 0) return Buffer.from(DATAGRAM.subarray(0, size));
    const error = new SocketError("receiving a datagram");
    if (error.errno === constants.errno.EAGAIN) return null;
    throw error;
  }

  close(): void {
    close(this.fd);
  }
}

/** A packet socket that holds every frame of a device, in both directions, until it is read. */
export class PacketSocket {
  private readonly fd: number;

  /** @param bufferBytes what the kernel may hold, its own overhead included. */
  constructor(path: string, device: string, bufferBytes = 32 << 20) {
    this.fd = inNamespace(path, () => {
      // Protocol 0 takes nothing until bound, so that no frame of another device slips in.
      const fd = checked(socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0), "making a packet socket");
      try {
        setInt(fd, SO_RCVBUFFORCE, bufferBytes);
        const index = ifNameToIndex(device) as number;
        if (index === 0) throw new SocketError(`capturing: no device ${device} in ${path}`);
        // struct sockaddr_ll: family, protocol (network order), ifindex, the rest for sending only.
        const address = Buffer.alloc(20);
        address.writeUInt16LE(AF_PACKET, 0);
        address.writeUInt16BE(ETH_P_ALL, 2);
        address.writeInt32LE(index, 4);
        checked(bind(fd, address, address.length), `capturing on ${device}`);
        return fd;
      } catch (error) {
        close(fd);
        throw error;
      }
    });
  }

  /**
   * Takes what the socket holds, oldest first.
   * @throws Error when the buffer overflowed: frames are missing.
   */
  drain(): Buffer[] {
    const frames: Buffer[] = [];
    const buffer = Buffer.alloc(65536);
    for (;;) {
      const size = Number(recv(this.fd, buffer, buffer.length, MSG_DONTWAIT | MSG_TRUNC));
      if (size < 0) {
        const error = new SocketError("reading a capture");
        if (error.errno === constants.errno.EAGAIN) break;
        // The device was down for a moment, as when it joins a VRF; capturing goes on when it is up again.
        if (error.errno === constants.errno.ENETDOWN) continue;
        throw error;
      }
      frames.push(Buffer.from(buffer.subarray(0, Math.min(size, buffer.length))));
    }
    const dropped = this.dropped();
    if (dropped > 0) throw new Error(`capturing: ${dropped} frames did not fit the socket's buffer`);
    return frames;
  }

  close(): void {
    close(this.fd);
  }

  /** tp_drops of struct tpacket_stats; reading it sets it to 0. */
  private dropped(): number {
    const stats = Buffer.alloc(8);
    const length = Buffer.alloc(4);
    length.writeUInt32LE(stats.length);
    checked(
      getsockopt(this.fd, SOL_PACKET, PACKET_STATISTICS, stats, length),
      "reading a capture's counters",
    );
    return stats.readUInt32LE(4);
  }
}

function setInt(fd: number, name: number, value: number): void {
  const bytes = Buffer.alloc(4);
  bytes.writeInt32LE(value);
  checked(setsockopt(fd, SOL_SOCKET, name, bytes, bytes.length), `setting socket option ${name}`);
}
