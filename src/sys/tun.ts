import {
  AF_INET,
  check,
  close,
  errno,
  ioctl,
  O_CLOEXEC,
  O_NONBLOCK,
  O_RDWR,
  open,
  SOCK_DGRAM,
  SystemError,
  socket,
} from "./libc.js";
import { Slab } from "./slab.js";

/** linux/if_tun.h */
const TUNSETIFF = 0x400454ca;
const TUNSETPERSIST = 0x400454cb;
const TUNSETOWNER = 0x400454cc;
const TUNSETOFFLOAD = 0x400454d0;
const TUNSETSTEERINGEBPF = 0x800454e0;
const IFF_TUN = 0x0001;
const IFF_MULTI_QUEUE = 0x0100;
const IFF_VNET_HDR = 0x4000;
const IFF_TUN_EXCL = 0x8000;
const TUN_F_CSUM = 0x01;
const TUN_F_TSO4 = 0x02;
const TUN_F_TSO6 = 0x04;
const TUN_F_TSO_ECN = 0x08;
const TUN_F_USO4 = 0x20;
const TUN_F_USO6 = 0x40;
const TSO = TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN;
/** What the reader is ready for, best first. USO came with Linux 6.2, only both families together. */
const OFFLOADS = {
  segmentation: [TSO | TUN_F_USO4 | TUN_F_USO6, TSO, TUN_F_CSUM, 0],
  checksum: [TUN_F_CSUM, 0],
  none: [0],
} as const;
/** linux/sockios.h */
const SIOCSIFTXQLEN = 0x8943;
/**
 * Packets that wait for the reader. The driver's own 500 are gone in 5 ms at 100,000 packets a second, which a busy
 * machine may take to run the reader again, and what does not fit is lost.
 */
export const TX_QUEUE_LENGTH = 4096;
/** linux/if.h: with its terminating zero. */
const IFNAMSIZ = 16;
/** offsetof(struct ifreq, ifr_flags), that of ifr_qlen too, and sizeof(struct ifreq) on 64-bit. */
const IFR_FLAGS = 16;
const IFREQ_SIZE = 40;

/** A TUN device could not be made. `reason` is for programs, the message for people. */
export class TunError extends Error {
  override readonly name = "TunError";
  readonly reason: "no-device-node" | "no-rights" | "in-use" | "bad-name" | "other";

  constructor(reason: TunError["reason"], message: string, cause?: unknown) {
    super(message, { cause });
    this.reason = reason;
  }
}

export interface TunOptions {
  /**
   * What the kernel may leave to the reader: nothing; checksums (VIRTIO_NET_HDR_F_NEEDS_CSUM); or those and the
   * segmentation of TCP and UDP packets (virtio_net_hdr's gso_type). Less is asked for where the kernel knows less.
   */
  readonly offload?: keyof typeof OFFLOADS;
  /** Each packet is in one of so many queues, by default in that of its flow; 1 if left out. */
  readonly queues?: number;
  /** Opens the queues of a device that makePersistentTun() made; by default a device is made that ends with its queues. */
  readonly persistent?: boolean;
}

export interface Tun {
  /** Of the first queue, or the only one. Non-blocking. */
  readonly fd: number;
  /** Of all queues. */
  readonly fds: readonly number[];
  readonly name: string;
  /** Closes the descriptors. A device that is not persistent goes with the last of them. */
  close(): void;
}

/**
 * Makes a TUN device in the calling thread's network namespace, or opens a persistent one. Each read and write carries one
 * packet behind a 4-byte struct tun_pi and then a 10-byte struct virtio_net_hdr (drivers/net/tun.c, tun_get_user and
 * tun_put_user).
 * @throws TunError
 */
export function openTun(
  name: string,
  { offload = "segmentation", queues = 1, persistent = false }: TunOptions = {},
): Tun {
  const ifreq = namedIfreq(name);
  const fds: number[] = [];
  const closeAll = (): void => {
    for (const fd of fds.splice(0)) close(fd);
  };
  try {
    for (let queue = 0; queue < queues; queue++) {
      const fd = openNode();
      fds.push(fd);
      // Without IFF_TUN_EXCL the queue could join another process's device of the same name.
      attachQueue(fd, ifreq, name, persistent || queue > 0 ? 0 : IFF_TUN_EXCL);
    }
    const [fd = -1] = fds;
    const accepted = OFFLOADS[offload].some((flags) => ioctl(fd, TUNSETOFFLOAD, flags) === 0);
    if (!accepted) throw new SystemError(`setting the offloads of the TUN device ${name}`, errno());
    setQueueLength(ifreq);
    const given = new TextDecoder().decode(ifreq.bytes.subarray(0, ifreq.bytes.indexOf(0)));
    return { fd, fds: [...fds], name: given, close: closeAll };
  } catch (error) {
    closeAll();
    throw error;
  }
}

/**
 * Makes a TUN device that stays until it is deleted (TUNSETPERSIST): down, without queues and root's own. Nothing reads
 * what is sent to it until openTun() gives it queues; until then the kernel drops it (tun_net_xmit).
 * @throws TunError where there is a link of that name
 */
export function makePersistentTun(name: string): void {
  const ifreq = namedIfreq(name);
  const fd = openNode();
  try {
    attachQueue(fd, ifreq, name, IFF_TUN_EXCL);
    // Anybody may open a queue of a persistent device without an owner (tun_not_capable).
    check(ioctl(fd, TUNSETOWNER, 0), `making root the owner of the TUN device ${name}`);
    check(ioctl(fd, TUNSETPERSIST, 1), `making the TUN device ${name} persistent`);
  } finally {
    close(fd);
  }
}

function namedIfreq(name: string): Slab {
  const encoded = new TextEncoder().encode(name);
  if (encoded.length === 0 || encoded.length >= IFNAMSIZ)
    throw new TunError("bad-name", `TUN device name "${name}": it must have 1 to ${IFNAMSIZ - 1} bytes`);
  const ifreq = new Slab(IFREQ_SIZE);
  ifreq.bytes.set(encoded);
  return ifreq;
}

function openNode(): number {
  const fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
  if (fd < 0) throw openFailure(errno());
  return fd;
}

/** Multi-queue always: a device keeps for life which of the two it is, and may be taken over with more queues. */
function attachQueue(fd: number, ifreq: Slab, name: string, exclusive: number): void {
  ifreq.view.setUint16(IFR_FLAGS, IFF_TUN | IFF_VNET_HDR | IFF_MULTI_QUEUE | exclusive, true);
  // The kernel writes the name back, which the other queues are of: it may have numbered "ipsec%d".
  if (ioctl(fd, TUNSETIFF, ifreq.base) < 0) throw attachFailure(name, errno());
}

/**
 * Has a program choose the queue of each packet: of the type BPF_PROG_TYPE_SOCKET_FILTER, it returns the queue's number
 * (drivers/net/tun.c, tun_select_queue).
 * @param fd of any of the device's queues
 * @throws SystemError
 */
export function steerTunQueues(fd: number, programFd: number): void {
  const argument = new Slab(4);
  argument.view.setInt32(0, programFd, true);
  check(ioctl(fd, TUNSETSTEERINGEBPF, argument.base), "steering the queues of the TUN device");
}

/** Of the device that a struct ifreq names. */
function setQueueLength(ifreq: Slab): void {
  const doing = "setting the queue length of the TUN device";
  const control = check(socket(AF_INET, SOCK_DGRAM | O_CLOEXEC, 0), doing);
  try {
    ifreq.view.setInt32(IFR_FLAGS, TX_QUEUE_LENGTH, true);
    check(ioctl(control, SIOCSIFTXQLEN, ifreq.base), doing);
  } finally {
    close(control);
  }
}

function openFailure(number: number): TunError {
  const cause = new SystemError("opening /dev/net/tun", number);
  if (cause.code === "ENOENT" || cause.code === "ENODEV" || cause.code === "ENXIO") {
    return new TunError(
      "no-device-node",
      `${cause.message}; load the tun module or give the container /dev/net/tun`,
      cause,
    );
  }
  if (cause.code === "EACCES" || cause.code === "EPERM") {
    return new TunError(
      "no-rights",
      `${cause.message}; run as root, or allow the container /dev/net/tun`,
      cause,
    );
  }
  return new TunError("other", cause.message, cause);
}

function attachFailure(name: string, number: number): TunError {
  const cause = new SystemError(`making the TUN device ${name}`, number);
  if (cause.code === "EPERM") {
    return new TunError(
      "no-rights",
      `${cause.message}; it needs CAP_NET_ADMIN in this network namespace`,
      cause,
    );
  }
  if (cause.code === "EBUSY") {
    return new TunError("in-use", `${cause.message}; another process holds a TUN device of that name`, cause);
  }
  if (cause.code === "EINVAL") {
    return new TunError(
      "in-use",
      `${cause.message}; a link of that name exists already, or the name is not allowed`,
      cause,
    );
  }
  return new TunError("other", cause.message, cause);
}
