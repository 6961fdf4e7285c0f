import { check, close, read, SOCK_RAW, SystemError, setsockopt, socket, write } from "../sys/libc.js";
import { Slab } from "../sys/slab.js";
import { align, LITTLE_ENDIAN, viewOf } from "./attributes.js";

/** <linux/netlink.h> and <linux/socket.h> */
const AF_NETLINK = 16;
const NETLINK_ROUTE = 0;
export const NETLINK_XFRM = 6;
const SOL_NETLINK = 270;
const NETLINK_GET_STRICT_CHK = 12;
const NLM_F_REQUEST = 0x1;
const NLM_F_DUMP = 0x300;
const NLM_F_MULTI = 0x2;
const NLM_F_DUMP_INTR = 0x10;
const NLMSG_ERROR = 2;
const NLMSG_DONE = 3;
/** struct nlmsghdr: length, type, flags, sequence, port. */
const HEADER_SIZE = 16;
/** The kernel fills at most 32 KiB of a dump at a time (netlink_dump in net/netlink/af_netlink.c). */
const BUFFER_SIZE = 65536;

/**
 * Asks rtnetlink, or another netlink protocol, of the calling thread's network namespace (rtnetlink(7)).
 *
 * @param type RTM_GET...
 * @param body the message behind its header, such as a struct ifinfomsg; its attributes behind that
 * @param dump all objects that the body selects, not one
 * @returns the bodies of the answers
 * @throws SystemError with the kernel's errno; `doing` is what it says of itself
 */
export function request(
  type: number,
  body: Uint8Array,
  doing: string,
  { dump = false, protocol = NETLINK_ROUTE } = {},
): Uint8Array[] {
  const fd = check(socket(AF_NETLINK, SOCK_RAW, protocol), doing);
  try {
    const buffer = new Slab(BUFFER_SIZE);
    buffer.view.setInt32(0, 1, LITTLE_ENDIAN);
    check(setsockopt(fd, SOL_NETLINK, NETLINK_GET_STRICT_CHK, buffer.base, 4), doing);
    for (;;) {
      const answers = ask(fd, buffer, type, body, doing, dump);
      if (answers !== null) return answers;
    }
  } finally {
    close(fd);
  }
}

/** @returns null where what was asked for changed meanwhile */
function ask(
  fd: number,
  buffer: Slab,
  type: number,
  body: Uint8Array,
  doing: string,
  dump: boolean,
): Uint8Array[] | null {
  const { view, bytes } = buffer;
  const length = HEADER_SIZE + body.length;
  bytes.fill(0, 0, HEADER_SIZE);
  view.setUint32(0, length, LITTLE_ENDIAN);
  view.setUint16(4, type, LITTLE_ENDIAN);
  view.setUint16(6, NLM_F_REQUEST | (dump ? NLM_F_DUMP : 0), LITTLE_ENDIAN);
  bytes.set(body, HEADER_SIZE);
  check(write(fd, buffer.base, length), doing);
  const answers: Uint8Array[] = [];
  let whole = true;
  for (;;) {
    const size = check(read(fd, buffer.base, BUFFER_SIZE), doing);
    for (let at = 0; at + HEADER_SIZE <= size; at += align(view.getUint32(at, LITTLE_ENDIAN))) {
      const flags = view.getUint16(at + 6, LITTLE_ENDIAN);
      if (flags & NLM_F_DUMP_INTR) whole = false;
      const content = bytes.slice(at + HEADER_SIZE, at + view.getUint32(at, LITTLE_ENDIAN));
      switch (view.getUint16(at + 4, LITTLE_ENDIAN)) {
        case NLMSG_ERROR:
          throw new SystemError(doing, -result(content));
        case NLMSG_DONE:
          if (result(content) < 0) throw new SystemError(doing, -result(content));
          return whole ? answers : null;
      }
      answers.push(content);
      if (!(flags & NLM_F_MULTI)) return answers;
    }
  }
}

/** The negative errno that an error, or the end of a dump, begins with. */
function result(content: Uint8Array): number {
  return content.length < 4 ? 0 : viewOf(content).getInt32(0, LITTLE_ENDIAN);
}
