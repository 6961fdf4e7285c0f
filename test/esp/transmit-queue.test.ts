import test, { type ExecutionContext } from "ava";
import { Counters } from "../../src/esp/statistics.js";
import { TransmitQueue } from "../../src/esp/transmit-queue.js";
import { close, setsockopt } from "../../src/sys/libc.js";
import { inNetns } from "../../src/sys/netns.js";
import { PollSet } from "../../src/sys/poll-set.js";
import { Slab } from "../../src/sys/slab.js";
import { parseAddress } from "../../src/sys/sockaddr.js";
import { openUdpSocket } from "../../src/sys/udp.js";
import { ReceiveVector } from "../../src/sys/udp-receive.js";
import { Destination } from "../../src/sys/udp-send.js";
import { ip, makeNamespace, whyNoNamespaces } from "../sys/namespace.js";

const reason = whyNoNamespaces();
const rooted = reason === null ? test.serial : test.serial.skip;
const suffix = reason === null ? "" : ` (${reason})`;

const HERE = parseAddress("127.0.0.1");
const END = 2 ** 18;
const PLACE = 2 ** 17;

/** A queue and the socket that everything in it goes to, in a namespace of their own. */
function setUp(
  t: ExecutionContext,
  mtu: number,
  waitFor: (fd: number) => void = () => t.fail("the socket is never full"),
) {
  const namespace = makeNamespace(t);
  ip("-n", namespace, "link", "set", "lo", "mtu", String(mtu));
  const [fd, peer] = inNetns(namespace, () => [openUdpSocket(HERE, 4500, 0), openUdpSocket(HERE, 4501, 0)]);
  t.teardown(() => [fd, peer].map(close));
  const slab = new Slab(END);
  const counters = new Counters();
  const route = { fd, link: 0, destination: new Destination(HERE, HERE, 4501, 0) };
  const queue = new TransmitQueue(slab, counters, 0, END, waitFor);
  const incoming = new Slab(8 * PLACE);
  const places = Array.from({ length: 8 }, (_, index) => incoming.base + index * PLACE);
  const received = new ReceiveVector(places, 65535);
  const readable = PollSet.forReading([peer]);
  return {
    namespace,
    counters,
    route,
    queue,
    commit(size: number, fill: number, to = route) {
      const at = queue.reserve(size);
      slab.bytes.fill(fill, at, at + size);
      queue.commit(to, 0, size, 0);
    },
    /** Waits for `count` datagrams. @returns each message's datagrams as [size, first byte] */
    receive(count: number): number[][][] {
      const messages: number[][][] = [];
      while (messages.flat().length < count) {
        readable.wait(5000);
        const found = received.receive(peer, places.length);
        if (found <= 0) break;
        for (let index = 0; index < found; index++) {
          received.look(index);
          const datagrams: number[][] = [];
          for (let at = 0; at < received.bytes; at += received.size) {
            const size = Math.min(received.size, received.bytes - at);
            datagrams.push([size, incoming.bytes[index * PLACE + at] as number]);
          }
          messages.push(datagrams);
        }
      }
      return messages;
    },
  };
}

rooted(`datagrams of one size leave and arrive together, others behind them in one call${suffix}`, (t) => {
  const { counters, queue, commit, receive } = setUp(t, 65536);
  const sizes = [100, 100, 100, 40, 100, 200, 200];
  for (const [index, size] of sizes.entries()) commit(size, index);
  queue.flush();
  t.deepEqual(receive(sizes.length), [
    [
      [100, 0],
      [100, 1],
      [100, 2],
      [40, 3],
    ],
    [[100, 4]],
    [
      [200, 5],
      [200, 6],
    ],
  ]);
  t.is(counters.get("sends"), 1);
  t.is(counters.get("txErrors"), 0);
});

rooted(`no more than 64 datagrams, or 65,000 bytes, leave as one${suffix}`, (t) => {
  const { queue, commit, receive } = setUp(t, 65536);
  for (let index = 0; index < 100; index++) commit(50, index);
  for (let index = 100; index < 103; index++) commit(30_000, index);
  queue.flush();
  const sizes = receive(103).map((message) => message.length);
  t.is(sizes[0], 64);
  t.deepEqual(
    sizes.reduce((sum, each) => sum + each, 0),
    103,
  );
});

rooted(
  `more messages than one call takes, and more than the memory holds, keep their order${suffix}`,
  (t) => {
    const { counters, queue, commit, receive } = setUp(t, 65536);
    const expected: number[][] = [];
    for (let index = 0; index < 150; index++) {
      const size = 100 + index;
      commit(size, index);
      expected.push([size, index]);
    }
    for (let index = 0; index < 10; index++) {
      commit(40_000, index);
      expected.push([40_000, index]);
    }
    queue.flush();
    t.deepEqual(receive(expected.length).flat(), expected);
    t.is(counters.get("txErrors"), 0);
  },
);

rooted(`datagrams that the path's MTU does not take leave one by one, in fragments${suffix}`, (t) => {
  const { counters, route, queue, commit, receive } = setUp(t, 1500);
  for (let index = 0; index < 3; index++) commit(3000, index);
  queue.flush();
  t.deepEqual(receive(3).flat(), [
    [3000, 0],
    [3000, 1],
    [3000, 2],
  ]);
  t.is(counters.get("txErrors"), 0);
  t.true(route.destination.segmentation);
});

rooted(`a datagram that cannot be sent is counted, and the others leave${suffix}`, (t) => {
  const { counters, route, queue, commit, receive } = setUp(t, 65536);
  const nowhere = { ...route, link: 0x7ffffff0 };
  commit(100, 1);
  commit(100, 2, nowhere);
  commit(100, 3, nowhere);
  commit(100, 4);
  queue.flush();
  t.deepEqual(receive(2).flat(), [
    [100, 1],
    [100, 4],
  ]);
  t.is(counters.get("txErrors"), 2);
});

/** asm-generic/socket.h; the kernel takes at least what two datagrams need. */
const [SOL_SOCKET, SO_SNDBUF] = [1, 7];

rooted(`one wait for a full socket, and the others' datagrams leave${suffix}`, (t) => {
  const waits: number[] = [];
  const { namespace, counters, queue, commit, receive } = setUp(t, 65536, (fd) => waits.push(fd));
  ip("-n", namespace, "link", "add", "v0", "type", "veth", "peer", "name", "v1");
  for (const link of ["v0", "v1"]) ip("-n", namespace, "link", "set", link, "up");
  ip("-n", namespace, "addr", "add", "192.0.2.1/24", "dev", "v0");
  const local = parseAddress("192.0.2.1");
  const fd = inNetns(namespace, () => openUdpSocket(local, 4500, 0));
  t.teardown(() => close(fd));
  const least = new Slab(4);
  setsockopt(fd, SOL_SOCKET, SO_SNDBUF, least.base, 4);
  // Nobody answers the kernel's question where that is, so that nothing leaves.
  const stuck = { fd, link: 0, destination: new Destination(local, parseAddress("192.0.2.2"), 4500, 0) };
  for (let index = 0; index < 20; index++) commit(1000 + index, 0, stuck);
  queue.flush();
  waits.length = 0;
  const before = counters.get("txErrors");
  const others = Array.from({ length: 20 }, (_, index) => [100 + index, index]);
  for (const [size = 0, index = 0] of others) {
    commit(1000 + size, 0, stuck);
    commit(1200 + size, 0, stuck);
    commit(size, index);
  }
  queue.flush();
  t.deepEqual(waits, [fd]);
  t.is(counters.get("txErrors") - before, 40);
  t.deepEqual(receive(others.length).flat(), others);
});
