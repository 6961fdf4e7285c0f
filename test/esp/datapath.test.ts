import { randomBytes } from "node:crypto";
import { createSocket } from "node:dgram";
import { networkInterfaces } from "node:os";
import test from "ava";
import { FRAME_HEADER_SIZE } from "../../src/esp/framing.js";
import { ConnectionError, type DatapathStatistics, startDatapath } from "../../src/esp/index.js";
import { MAX_TRAILER_SIZE } from "../../src/esp/packet.js";
import { frame, ipv4, ipv6 } from "./frames.js";
import * as p from "./ip-packets.js";
import { startSite, Tunnel, until } from "./site.js";

/** The loopback device is the first of every network namespace. */
const LOOPBACK_IFINDEX = 1;
/** No namespace of the test machine has that many links. */
const NO_SUCH_IFINDEX = 0x7ffffff0;

/** The counters that are not 0. */
const counted = ({ errors, io }: DatapathStatistics): Record<string, number> =>
  Object.fromEntries(Object.entries({ ...errors, ...io }).filter(([, value]) => value !== 0));

const hasIpv6 = Object.values(networkInterfaces()).some((addresses) =>
  addresses?.some(({ address }) => address === "::1"),
);

for (const [outer, left, right] of [
  ["IPv4", "127.0.0.1", "127.0.0.2"],
  ["IPv6", "::1", "::1"],
] as const) {
  const run = outer === "IPv6" && !hasIpv6 ? test.serial.skip : test.serial;
  run(`IPv4 and IPv6 packets cross in both directions over ${outer}`, async (t) => {
    const tunnel = await Tunnel.between(left, right);
    const connection = tunnel.connection(101);
    const a = await startSite(t, [connection.left]);
    const b = await startSite(t, [connection.right]);
    for (const packet of [ipv4(84), ipv6(1400), ipv4(20), ipv6(40), ipv4(9000)]) {
      a.tun.send(frame(packet));
      t.deepEqual(b.tun.receive(), frame(packet, { link: LOOPBACK_IFINDEX }));
      b.tun.send(frame(packet));
      t.deepEqual(a.tun.receive(), frame(packet, { link: LOOPBACK_IFINDEX }));
    }
    t.deepEqual(counted(a.datapath.statistics()), {});
    t.deepEqual(counted(b.datapath.statistics()), {});
    const bytes = 84 + 1400 + 20 + 40 + 9000;
    t.deepEqual(a.datapath.statistics().connections.get(101), {
      out: { spi: 0x10000 + 101, packets: 5, bytes, offload: null },
      in: { spi: 0x20000 + 101, packets: 5, bytes, offload: null },
    });
  });
}

for (const [name, options] of [
  ["TCP over IPv4", {}],
  ["TCP over IPv6", { family: 6 }],
  ["UDP over IPv4", { protocol: "udp" }],
  ["UDP over IPv6", { protocol: "udp", family: 6 }],
] as [string, p.TransportOptions][]) {
  test.serial(`a GSO packet of ${name} comes out as it went in, by few calls and no copy`, async (t) => {
    const tunnel = await Tunnel.between();
    const connection = tunnel.connection(101);
    const a = await startSite(t, [connection.left]);
    const b = await startSite(t, [connection.right]);
    const mss = 1300;
    const payload = Buffer.alloc(40 * mss + 7, "payload ");
    a.tun.send(p.gsoFrame({ ...options, payload }, mss));
    t.deepEqual(b.tun.receive(), p.gsoFrame({ ...options, payload }, mss, 101, LOOPBACK_IFINDEX));
    const sent = a.datapath.statistics();
    t.deepEqual(counted(sent), {});
    t.is(sent.connections.get(101)?.out.packets, 41);
    const header = (options.family === 6 ? 40 : 20) + (options.protocol === "udp" ? 8 : 20);
    // Every segment's headers, and what is put back of the next one's payload, where the trailer was.
    t.is(sent.work.copiedBytes, 41 * (header + MAX_TRAILER_SIZE));
    t.is(sent.work.sends, 1);
    const received = b.datapath.statistics().work;
    t.is(received.copiedBytes, 0);
    t.is(received.tunWrites, 1);
  });
}

test.serial("a burst of small packets of many sizes and two connections keeps its order", async (t) => {
  const tunnel = await Tunnel.between();
  const connections = [tunnel.connection(101), tunnel.connection(102)];
  const a = await startSite(
    t,
    connections.map(({ left }) => left),
  );
  const b = await startSite(
    t,
    connections.map(({ right }) => right),
  );
  const packets = Array.from({ length: 100 }, (_, index) =>
    frame(ipv4(40 + (index % 7), index), { ifId: 101 + (index % 2) }),
  );
  for (const packet of packets) t.true(a.tun.send(packet));
  t.deepEqual(
    packets.map(() => b.tun.receive()?.readUInt16BE(FRAME_HEADER_SIZE + 4)),
    packets.map((_, index) => index),
  );
});

test.serial("node:crypto carries packets to and from OpenSSL", async (t) => {
  const tunnel = await Tunnel.between();
  const connection = tunnel.connection(101);
  const a = await startSite(t, [connection.left], "node");
  const b = await startSite(t, [connection.right], "openssl");
  a.tun.send(frame(ipv4(600)));
  t.deepEqual(b.tun.receive(), frame(ipv4(600), { link: LOOPBACK_IFINDEX }));
  b.tun.send(frame(ipv4(601)));
  t.deepEqual(a.tun.receive(), frame(ipv4(601), { link: LOOPBACK_IFINDEX }));
});

test.serial("AES-256 connections carry packets", async (t) => {
  const tunnel = await Tunnel.between();
  const connection = tunnel.connection(101, [randomBytes(36), randomBytes(36)], { suite: "aes256-gcm" });
  const a = await startSite(t, [connection.left]);
  const b = await startSite(t, [connection.right]);
  a.tun.send(frame(ipv4(600)));
  t.deepEqual(b.tun.receive(), frame(ipv4(600), { link: LOOPBACK_IFINDEX }));
});

test.serial(
  "connections that share a socket stay apart by their if_id, the inner addresses being the same",
  async (t) => {
    const tunnel = await Tunnel.between();
    const connections = [101, 102, 103].map((ifId) => tunnel.connection(ifId));
    const a = await startSite(
      t,
      connections.map(({ left }) => left),
    );
    const b = await startSite(
      t,
      connections.map(({ right }) => right),
    );
    for (const [ifId, size] of [
      [102, 100],
      [101, 200],
      [103, 300],
      [102, 400],
    ] as const) {
      a.tun.send(frame(ipv4(size), { ifId }));
      t.deepEqual(b.tun.receive(), frame(ipv4(size), { ifId, link: LOOPBACK_IFINDEX }));
    }
    const packets = (ifId: number) => b.datapath.statistics().connections.get(ifId)?.in.packets;
    t.deepEqual([101, 102, 103].map(packets), [1, 2, 1]);
  },
);

test.serial("a packet whose if_id no connection has is counted and never sent", async (t) => {
  const tunnel = await Tunnel.between();
  const connection = tunnel.connection(101);
  const a = await startSite(t, [connection.left]);
  const b = await startSite(t, [connection.right]);
  a.tun.send(frame(ipv4(100), { ifId: 999 }));
  a.tun.send(frame(ipv4(200)));
  t.deepEqual(b.tun.receive(), frame(ipv4(200), { link: LOOPBACK_IFINDEX }));
  t.deepEqual(counted(a.datapath.statistics()), { txCarrierErrors: 1 });
});

test.serial(
  "a packet whose link is gone is counted, whether the metadata or the connection names it",
  async (t) => {
    const tunnel = await Tunnel.between();
    const bound = tunnel.connection(102, undefined, { link: NO_SUCH_IFINDEX });
    const a = await startSite(t, [tunnel.connection(101).left, bound.left]);
    a.tun.send(frame(ipv4(100), { link: NO_SUCH_IFINDEX }));
    a.tun.send(frame(ipv4(100), { ifId: 102 }));
    await until(() => a.datapath.statistics().io.txErrors === 2);
    t.deepEqual(counted(a.datapath.statistics()), { txErrors: 2 });
  },
);

test.serial("the metadata's link comes before the connection's", async (t) => {
  const tunnel = await Tunnel.between();
  const connection = tunnel.connection(101, undefined, { link: NO_SUCH_IFINDEX });
  const a = await startSite(t, [connection.left]);
  const b = await startSite(t, [connection.right]);
  a.tun.send(frame(ipv4(100), { link: LOOPBACK_IFINDEX }));
  t.deepEqual(b.tun.receive(), frame(ipv4(100), { link: LOOPBACK_IFINDEX }));
});

test.serial("keepalives, IKE's packets and strangers' packets are counted and reach nobody", async (t) => {
  const tunnel = await Tunnel.between();
  const connection = tunnel.connection(101);
  const a = await startSite(t, [connection.left]);
  const socket = createSocket("udp4");
  t.teardown(() => socket.close());
  const send = (bytes: Buffer) => socket.send(bytes, tunnel.leftPort, tunnel.left);
  send(Buffer.from([0xff]));
  send(Buffer.concat([Buffer.alloc(4), Buffer.from("IKE")]));
  send(Buffer.from([1, 2, 3]));
  send(Buffer.alloc(100, 7));
  const expected = { keepalives: 1, nonEspMarkers: 1, XfrmInHdrError: 1, XfrmInNoStates: 1 };
  await until(() => a.datapath.statistics().errors.XfrmInNoStates === 1);
  t.deepEqual(counted(a.datapath.statistics()), { ...expected });
  t.is(a.tun.receive(0), null);
});

test.serial("the wrong key lets nothing through", async (t) => {
  const tunnel = await Tunnel.between();
  const a = await startSite(t, [tunnel.connection(101).left]);
  const b = await startSite(t, [tunnel.connection(101).right]);
  a.tun.send(frame(ipv4(100)));
  await until(() => b.datapath.statistics().errors.XfrmInStateProtoError === 1);
  t.deepEqual(counted(b.datapath.statistics()), { XfrmInStateProtoError: 1 });
  t.is(b.tun.receive(0), null);
});

test.serial("keys are wiped from the caller's memory once the data path has them", async (t) => {
  const { left } = (await Tunnel.between()).connection(101);
  const { datapath } = await startSite(t, [left]);
  t.deepEqual([left.out.key, left.in.key], [Buffer.alloc(20), Buffer.alloc(20)]);
  const other = (await Tunnel.between()).connection(0).left;
  await t.throwsAsync(datapath.update([other]), { instanceOf: ConnectionError });
  t.deepEqual([other.out.key, other.in.key], [Buffer.alloc(20), Buffer.alloc(20)]);
});

test.serial("a descriptor that is not open is refused, and the keys are wiped all the same", async (t) => {
  const { left } = (await Tunnel.between()).connection(101);
  await t.throwsAsync(startDatapath({ tunFds: [-1], connections: [left] }), {
    name: "SystemError",
    message: /TUN descriptor: EBADF/,
  });
  t.deepEqual([left.out.key, left.in.key], [Buffer.alloc(20), Buffer.alloc(20)]);
});

test.serial("a data path stops under a flood", async (t) => {
  const tunnel = await Tunnel.between();
  const { tun, datapath } = await startSite(t, [tunnel.connection(101).left]);
  const packet = frame(ipv4(1400));
  while (tun.send(packet));
  const flood = setInterval(() => {
    while (tun.send(packet));
  }, 1);
  t.teardown(() => clearInterval(flood));
  await until(() => (datapath.statistics().connections.get(101)?.out.packets ?? 0) > 500);
  await t.notThrowsAsync(datapath.stop());
  t.true((datapath.statistics().connections.get(101)?.out.packets ?? 0) > 500);
});

test.serial("stopping twice is the same as once, and an update afterwards is refused", async (t) => {
  const tunnel = await Tunnel.between();
  const { datapath } = await startSite(t, [tunnel.connection(101).left]);
  await Promise.all([datapath.stop(), datapath.stop()]);
  await t.throwsAsync(datapath.update([tunnel.connection(101).left]), { message: /has ended/ });
});

test.serial("when the TUN device goes away the data path ends and says why", async (t) => {
  const { tun, datapath } = await startSite(t, [(await Tunnel.between()).connection(101).left]);
  tun.hangUp();
  await t.throwsAsync(datapath.ended, { message: /reading from the TUN device/ });
  await t.throwsAsync(datapath.stop(), { message: /reading from the TUN device/ });
});

test.serial("an update under traffic loses and repeats nothing of a connection that stays", async (t) => {
  const tunnel = await Tunnel.between();
  const secrets = [randomBytes(20), randomBytes(20)] as const;
  const staying = () => tunnel.connection(101, secrets);
  const a = await startSite(t, [staying().left]);
  const b = await startSite(t, [staying().right]);
  const total = 3000;
  const received: number[] = [];
  const drain = () => {
    for (let got = b.tun.receive(0); got !== null; got = b.tun.receive(0))
      received.push(got.readUInt16BE(FRAME_HEADER_SIZE + 4));
  };
  for (let sent = 0; sent < total; ) {
    // A window of packets on the way, so that no queue overflows and a loss would be the update's.
    while (sent < total && sent - received.length < 40 && a.tun.send(frame(ipv4(100 + (sent % 900), sent))))
      sent++;
    if (sent % 7 === 0) {
      const extra = tunnel.connection(200 + (sent % 5));
      await Promise.all([
        a.datapath.update([extra.left, staying().left]),
        b.datapath.update([staying().right, extra.right]),
      ]);
    } else {
      await new Promise(setImmediate);
    }
    drain();
  }
  await until(() => {
    drain();
    return received.length >= total;
  });
  t.deepEqual(
    received,
    Array.from({ length: total }, (_, index) => index),
  );
  t.deepEqual(counted(a.datapath.statistics()), {});
  t.deepEqual(counted(b.datapath.statistics()), {});
  t.is(a.datapath.statistics().connections.get(101)?.out.packets, total);
  t.is(b.datapath.statistics().connections.get(101)?.in.packets, total);
});

test.serial("a connection that an update leaves out sends and receives no more", async (t) => {
  const tunnel = await Tunnel.between();
  const secrets = [randomBytes(20), randomBytes(20)] as const;
  const a = await startSite(t, [tunnel.connection(101, secrets).left]);
  const b = await startSite(t, [tunnel.connection(101, secrets).right]);
  await b.datapath.update([tunnel.connection(102).right]);
  a.tun.send(frame(ipv4(100)));
  await until(() => b.datapath.statistics().errors.XfrmInNoStates === 1);
  b.tun.send(frame(ipv4(100)));
  await until(() => b.datapath.statistics().io.txCarrierErrors === 1);
  t.deepEqual(counted(b.datapath.statistics()), { XfrmInNoStates: 1, txCarrierErrors: 1 });
  t.deepEqual([...b.datapath.statistics().connections.keys()], [102]);
});

test.serial("an SA keeps its numbers when its connection gets another if_id and replay window", async (t) => {
  const tunnel = await Tunnel.between();
  const secrets = [randomBytes(20), randomBytes(20)] as const;
  const a = await startSite(t, [tunnel.connection(101, secrets).left]);
  const b = await startSite(t, [tunnel.connection(101, secrets).right]);
  a.tun.send(frame(ipv4(100)));
  t.truthy(b.tun.receive());
  const moved = tunnel.connection(101, secrets, { ifId: 102, replayWindow: 64 });
  await a.datapath.update([moved.left]);
  await b.datapath.update([moved.right]);
  a.tun.send(frame(ipv4(100), { ifId: 102 }));
  t.deepEqual(b.tun.receive(), frame(ipv4(100), { ifId: 102, link: LOOPBACK_IFINDEX }));
  t.is(a.datapath.statistics().connections.get(102)?.out.packets, 2);
  t.deepEqual(counted(b.datapath.statistics()), {});
});

test.serial("an update that fails leaves the connections of before in force", async (t) => {
  const tunnel = await Tunnel.between();
  const connection = tunnel.connection(101);
  const a = await startSite(t, [connection.left]);
  const b = await startSite(t, [connection.right]);
  const taken = {
    ...tunnel.connection(102).left,
    localPort: connection.right.localPort,
    local: tunnel.right,
  };
  await t.throwsAsync(a.datapath.update([tunnel.connection(103).left, taken]), {
    name: "SystemError",
    message: /binding the UDP socket 127\.0\.0\.2 .*EADDRINUSE/,
  });
  a.tun.send(frame(ipv4(100)));
  t.deepEqual(b.tun.receive(), frame(ipv4(100), { link: LOOPBACK_IFINDEX }));
});

test.serial("a second update while one is under way is refused", async (t) => {
  const tunnel = await Tunnel.between();
  const { datapath } = await startSite(t, [tunnel.connection(101).left]);
  const first = datapath.update([tunnel.connection(102).left]);
  const refused = { ...tunnel.connection(103).left, alsoIn: [{ spi: 999, key: randomBytes(20) }] };
  await t.throwsAsync(datapath.update([refused]), { message: /under way/ });
  const sa = { spi: 999, key: randomBytes(20) };
  await t.throwsAsync(datapath.rekey(102, { step: "add", sa }), { message: /under way/ });
  await first;
  for (const { key } of [refused.out, refused.in, ...refused.alsoIn, sa])
    t.true(
      key.every((byte) => byte === 0),
      "its keys are wiped",
    );
  t.deepEqual([...datapath.statistics().connections.keys()], [102]);
});

test.serial("2,000 connections are put in force by one update", async (t) => {
  const tunnel = await Tunnel.between();
  const connections = Array.from({ length: 2000 }, (_, index) => tunnel.connection(index + 1));
  const a = await startSite(t, []);
  const b = await startSite(
    t,
    connections.map(({ right }) => right),
  );
  await a.datapath.update(connections.map(({ left }) => left));
  for (const ifId of [1, 777, 2000]) {
    a.tun.send(frame(ipv4(100), { ifId }));
    t.deepEqual(b.tun.receive(), frame(ipv4(100), { ifId, link: LOOPBACK_IFINDEX }));
  }
});
