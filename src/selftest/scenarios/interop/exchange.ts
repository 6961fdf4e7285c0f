import { setTimeout as delay } from "node:timers/promises";
import type { Namespace } from "../../namespace.js";
import { UdpSocket } from "../../netns-socket.js";
import { type Cell, cellAddress, DATAGRAM_PORT, type End, fillingSize } from "./cells.js";

const IP_AND_UDP = { 4: 28, 6: 48 } as const;
/**
 * Odd ones too, so that every padding occurs. Each is longer than the one before also when both are padded, or they
 * would leave as one GSO packet and be captured as one. The last fills the MTU. Of ESP in UDP over IPv6 the kernel drops
 * packets of less than 40 bytes as too small (net/ipv6/xfrm6_input.c), which NULL encryption with HMAC-SHA1-96 of less than 9 bytes would give.
 */
const SMALL = [9, 31, 64, 501];
/** Emulated crypto shares its CPU with other machines. */
const LIMIT_MS = 30_000;
const POLL_MS = 5;

export const MARKER = "in the clear";

/** Payload sizes that are sent each way. */
export const payloadSizes = (cell: Cell): readonly number[] => [
  ...SMALL,
  fillingSize(cell) - IP_AND_UDP[cell.inner],
];

/** Sends datagrams of every size both ways through a cell. @throws Error when one does not arrive as it was */
export async function exchange(cell: Cell, ends: Readonly<Record<End, Namespace>>): Promise<void> {
  const sockets = new Map<End, UdpSocket>();
  const socket = (end: End) => sockets.get(end) as UdpSocket;
  try {
    for (const end of ["ours", "kernel"] as const)
      sockets.set(end, new UdpSocket(ends[end].path, cellAddress(cell, end), DATAGRAM_PORT));
    for (const [from, to] of WAYS)
      for (const data of datagrams(cell, from)) socket(from).send(data, cellAddress(cell, to), DATAGRAM_PORT);
    for (const [from, to] of WAYS) await expectAll(socket(to), datagrams(cell, from), from);
  } finally {
    for (const each of sockets.values()) each.close();
  }
}

const WAYS = [
  ["ours", "kernel"],
  ["kernel", "ours"],
] as const;

const datagrams = (cell: Cell, from: End): Buffer[] =>
  payloadSizes(cell).map((size) => Buffer.alloc(size, `${MARKER} ${from} ${cell.index} ${size} `));

/** In any order: the kernel's crypto may be asynchronous. All are of different sizes. */
async function expectAll(socket: UdpSocket, sent: readonly Buffer[], from: End): Promise<void> {
  const missing = new Map(sent.map((data) => [data.length, data]));
  for (const deadline = Date.now() + LIMIT_MS; missing.size > 0; await delay(POLL_MS)) {
    for (let received = socket.receive(); received !== null; received = socket.receive()) {
      if (missing.get(received.length)?.equals(received)) missing.delete(received.length);
      else throw new Error(`${received.length} bytes arrived that ${from} had not sent, or twice`);
    }
    if (Date.now() > deadline)
      throw new Error(
        `${[...missing.keys()].join(", ")} bytes from ${from} did not arrive within ${LIMIT_MS} ms`,
      );
  }
}
