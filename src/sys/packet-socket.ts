import { constants } from "node:os";
import {
  check,
  close,
  errno,
  MSG_DONTWAIT,
  O_CLOEXEC,
  O_NONBLOCK,
  recvmmsg,
  SOCK_DGRAM,
  setsockopt,
  socket,
} from "./libc.js";
import * as msg from "./msghdr.js";
import { Slab } from "./slab.js";

/** bits/socket.h, linux/if_ether.h (in network order), asm-generic/socket.h, linux/if_packet.h */
const AF_PACKET = 17;
const ETH_P_ALL = 0x0300;
const SOL_SOCKET = 1;
const SO_RCVBUFFORCE = 33;
const SO_TIMESTAMPNS = 35;
const PACKET_OUTGOING = 4;
/** struct sockaddr_ll: family 0, protocol 2, ifindex 4, hatype 8, pkttype 10, halen 11, addr 12. */
const SOCKADDR_LL_SIZE = 20;
const SLL_PROTOCOL = 2;
const SLL_IFINDEX = 4;
const SLL_PKTTYPE = 10;
/** A GSO packet is seen whole. */
const PLACE_SIZE = 2 ** 16 + 256;
const MESSAGES = 16;
const BUFFER_BYTES = 32 << 20;

/** A packet as it passed a device, without its link-layer header. */
export interface SeenPacket {
  /** Valid until the next call of `receive`. */
  readonly data: Buffer;
  /** EtherType. */
  readonly protocol: number;
  readonly ifindex: number;
  readonly outgoing: boolean;
  /** Nanoseconds since 1970. */
  readonly time: bigint;
}

/** Sees every packet of every device of the network namespace that it is made in: packet(7). Needs CAP_NET_RAW. */
export class PacketSocket {
  readonly #fd: number;
  readonly #vector = new msg.MessageVector(MESSAGES);
  readonly #names = new Slab(MESSAGES * SOCKADDR_LL_SIZE);
  readonly #places = new Slab(MESSAGES * PLACE_SIZE);

  /** @throws SystemError */
  constructor() {
    const doing = "opening a packet socket";
    const type = SOCK_DGRAM | O_NONBLOCK | O_CLOEXEC;
    this.#fd = check(socket(AF_PACKET, type, ETH_P_ALL), doing, "capturing needs CAP_NET_RAW: run as root");
    const option = (name: number, value: number): void => {
      const slab = new Slab(4);
      slab.view.setInt32(0, value, true);
      check(setsockopt(this.#fd, SOL_SOCKET, name, slab.base, 4), doing);
    };
    try {
      option(SO_RCVBUFFORCE, BUFFER_BYTES);
      option(SO_TIMESTAMPNS, 1);
    } catch (error) {
      close(this.#fd);
      throw error;
    }
    for (let i = 0; i < MESSAGES; i++) {
      const iovec = this.#vector.iovec(i);
      this.#vector.setPointer(iovec + msg.IOV_BASE, this.#places.base + i * PLACE_SIZE);
      this.#vector.setPointer(iovec + msg.IOV_LEN, PLACE_SIZE);
      const header = i * msg.MMSGHDR_SIZE;
      this.#vector.setPointer(header + msg.MSG_NAME, this.#names.base + i * SOCKADDR_LL_SIZE);
    }
  }

  /** Takes some of the packets that are there, oldest first, without blocking. */
  receive(): SeenPacket[] {
    const { view, base } = this.#vector;
    for (let i = 0; i < MESSAGES; i++) {
      view.setUint32(i * msg.MMSGHDR_SIZE + msg.MSG_NAMELEN, SOCKADDR_LL_SIZE, true);
      view.setUint32(i * msg.MMSGHDR_SIZE + msg.MSG_CONTROLLEN, msg.CONTROL_SIZE, true);
    }
    const count = recvmmsg(this.#fd, base, MESSAGES, MSG_DONTWAIT, 0);
    if (count < 0) {
      const number = errno();
      // ENETDOWN tells of a device that went down; the others go on.
      const { EAGAIN, EINTR, ENETDOWN } = constants.errno;
      if (number === EAGAIN || number === EINTR || number === ENETDOWN) return [];
      check(count, "reading from a packet socket");
    }
    return Array.from({ length: count }, (_, index) => this.#look(index));
  }

  close(): void {
    close(this.#fd);
  }

  #look(index: number): SeenPacket {
    const { view } = this.#vector;
    const header = index * msg.MMSGHDR_SIZE;
    const name = index * SOCKADDR_LL_SIZE;
    const place = index * PLACE_SIZE;
    const end = place + view.getUint32(header + msg.MSG_LEN, true);
    return {
      data: Buffer.from(this.#places.bytes.buffer, place, end - place),
      protocol: this.#names.view.getUint16(name + SLL_PROTOCOL),
      ifindex: this.#names.view.getInt32(name + SLL_IFINDEX, true),
      outgoing: this.#names.view.getUint8(name + SLL_PKTTYPE) === PACKET_OUTGOING,
      time: this.#time(header, this.#vector.control(index)),
    };
  }

  /** Of the SCM_TIMESTAMPNS message, the only one that was asked for: struct timespec. */
  #time(header: number, control: number): bigint {
    const { view } = this.#vector;
    if (view.getUint32(header + msg.MSG_CONTROLLEN, true) < msg.CMSGHDR_SIZE + 16)
      return BigInt(Date.now()) * 1_000_000n;
    const data = control + msg.CMSG_DATA;
    return view.getBigInt64(data, true) * 1_000_000_000n + view.getBigInt64(data + 8, true);
  }
}
