/** Rekeys and lifetimes of running data paths on loopback. */
import { randomBytes } from "node:crypto";
import test from "ava";
import { ConnectionError, type ExpireEvent, type Rekey, startDatapath } from "../../src/esp/index.js";
import { FakeTun } from "./fake-tun.js";
import { frame, ipv4 } from "./frames.js";
import { startSite, Tunnel, until } from "./site.js";

const IF_ID = 101;
const PACKET = frame(ipv4(100));

test.serial("30 rekeys under traffic lose no packet and leave no SA behind", async (t) => {
  const tunnel = await Tunnel.between();
  const connection = tunnel.connection(IF_ID);
  const a = await startSite(t, [connection.left]);
  const b = await startSite(t, [connection.right]);
  let sent = 0;
  let received = 0;
  /** A packet goes in before and after each step of either end; it is taken out only later. */
  const traffic = () => {
    for (let i = 0; i < 8; i++) if (a.tun.send(PACKET)) sent++;
  };
  const drain = () => {
    while (received < sent && b.tun.receive() !== null) received++;
  };
  let spi = 0x10000 + IF_ID;
  for (let round = 0; round < 30; round++) {
    const next = 0x50000 + round;
    const key = randomBytes(20);
    traffic();
    await b.datapath.rekey(IF_ID, { step: "add", sa: { spi: next, key: Buffer.from(key) } });
    traffic();
    await a.datapath.rekey(IF_ID, { step: "switch", sa: { spi: next, key } });
    t.deepEqual(key, Buffer.alloc(20), "the key is wiped");
    traffic();
    drain();
    await b.datapath.rekey(IF_ID, { step: "remove", spi });
    spi = next;
  }
  traffic();
  drain();
  t.is(received, sent);
  const nonZero = Object.entries(b.datapath.statistics().errors).filter(([, count]) => count !== 0);
  t.deepEqual(nonZero, []);
  t.is(a.datapath.states().length, 2);
  t.is(b.datapath.states().length, 2);
  t.is(b.datapath.states()[1]?.spi, spi);
});

test.serial(
  "an update may name the next inbound SA besides, so that new policies rekey without loss",
  async (t) => {
    const tunnel = await Tunnel.between();
    const secrets = [randomBytes(20), randomBytes(20)] as const;
    const connection = () => tunnel.connection(IF_ID, secrets);
    const next = { spi: 0x9999, key: randomBytes(20) };
    const nextKeys = () => ({ spi: next.spi, key: Buffer.from(next.key) });
    const a = await startSite(t, [connection().left]);
    const b = await startSite(t, [connection().right]);
    const crosses = () => {
      a.tun.send(PACKET);
      return b.tun.receive() !== null;
    };
    t.true(crosses());
    await b.datapath.update([{ ...connection().right, alsoIn: [nextKeys()] }]);
    t.true(crosses());
    await a.datapath.update([{ ...connection().left, out: nextKeys() }]);
    t.true(crosses());
    await b.datapath.update([{ ...connection().right, in: nextKeys() }]);
    t.true(crosses());
    t.deepEqual(
      b.datapath.states().map(({ spi, packets }) => [spi, packets]),
      [
        [0x20000 + IF_ID, 0],
        [next.spi, 2],
      ],
    );
  },
);

const mistakes: [string, Rekey, RegExp][] = [
  ["removing the only inbound SA", { step: "remove", spi: 0x20000 + IF_ID }, /only inbound SA/],
  ["removing one that is not there", { step: "remove", spi: 77777 }, /no inbound SA with SPI 0x12fd1/],
  ["a key of the wrong length", { step: "switch", sa: { spi: 300, key: Buffer.alloc(19) } }, /19 bytes/],
  [
    "an SPI that an inbound SA has",
    { step: "add", sa: { spi: 0x20000 + IF_ID, key: Buffer.alloc(20) } },
    /is that of if_id 101 too/,
  ],
];

test.serial("a rekey that cannot be is refused, and changes nothing", async (t) => {
  const tunnel = await Tunnel.between();
  const { left } = tunnel.connection(IF_ID);
  const { datapath } = await startSite(t, [left]);
  const before = datapath.states();
  for (const [name, change, message] of mistakes) {
    await t.throwsAsync(datapath.rekey(IF_ID, change), { instanceOf: ConnectionError, message }, name);
    t.deepEqual(datapath.states(), before, name);
  }
  await t.throwsAsync(datapath.rekey(5, { step: "remove", spi: 300 }), { instanceOf: ConnectionError });
});

test.serial(
  "a key that another SA has is refused, whosever it is, and the answer tells no key",
  async (t) => {
    const tunnel = await Tunnel.between();
    const keys = () => [Buffer.alloc(20, 0xa1), Buffer.alloc(20, 0xb2)] as const;
    const first = () => tunnel.connection(IF_ID, keys()).left;
    const { datapath } = await startSite(t, [first(), tunnel.connection(102).left]);
    const before = datapath.states();
    const [out, inbound] = ["outbound SA 0x10065", "inbound SA 0x20065"].map((sa) => `if_id 101's ${sa}`);
    for (const [ifId, step, key, other] of [
      [101, "switch", keys()[0], out],
      [101, "switch", keys()[1], inbound],
      [101, "add", keys()[0], out],
      [101, "add", keys()[1], inbound],
      [102, "switch", keys()[0], out],
      [102, "add", keys()[1], inbound],
    ] as const) {
      const error = await t.throwsAsync(datapath.rekey(ifId, { step, sa: { spi: 0x7777, key } }), {
        instanceOf: ConnectionError,
      });
      const own = step === "switch" ? "outbound" : "inbound";
      t.is(
        error?.message,
        `connection with if_id ${ifId}: the key of its ${own} SA 0x7777 is that of ${other} too; give each SA its own`,
      );
      t.deepEqual(datapath.states(), before);
      t.deepEqual(key, Buffer.alloc(20));
    }
    const same = tunnel.connection(103, keys()).left;
    await t.throwsAsync(datapath.update([first(), same]), {
      message: /if_id 103: .* if_id 101's outbound SA/,
    });
    await datapath.rekey(IF_ID, { step: "switch", sa: { spi: 0x7777, key: Buffer.alloc(20, 0xc3) } });
    await datapath.rekey(IF_ID, { step: "switch", sa: { spi: 0x8888, key: keys()[0] } });
    t.is(datapath.states()[0]?.spi, 0x8888, "no SA has it any more");
  },
);

/** What of PACKET counts against a limit of bytes. */
const PACKET_BYTES = 100;
/** Packets that go while no limit is reached. */
const FEW = 3;

for (const [unit, limit] of [
  ["packets", FEW],
  ["bytes", FEW * PACKET_BYTES],
  ["seconds", 1],
] as const) {
  test.serial(
    `at a soft limit of ${unit} an event asks for a new SA, and the old one is used on to the hard one`,
    async (t) => {
      const tunnel = await Tunnel.between();
      const events: ExpireEvent[] = [];
      const lifetime = { soft: { [unit]: limit }, hard: { packets: FEW + 1 } };
      const connection = tunnel.connection(IF_ID, undefined, { lifetime });
      const a = await startSite(t, [connection.left], "auto", (event) => events.push(event));
      const b = await startSite(t, [{ ...connection.right, lifetime: {} }]);
      const isOut = ({ direction }: ExpireEvent) => direction === "out";
      for (let i = 0; i < FEW; i++) a.tun.send(PACKET);
      await until(() => events.some(isOut), 10_000);
      const event = { ifId: IF_ID, direction: "out", spi: 0x10000 + IF_ID } as const;
      t.deepEqual(events.filter(isOut), [{ ...event, limit: "soft" }]);
      t.is(a.datapath.states()[0]?.stage, "soft");
      a.tun.send(PACKET);
      a.tun.send(PACKET);
      await until(() => events.filter(isOut).length > 1);
      t.deepEqual(events.filter(isOut)[1], { ...event, limit: "hard" });
      await until(() => b.datapath.states()[1]?.packets === FEW + 1);
      t.is(b.datapath.states()[1]?.packets, FEW + 1);
      await until(() => a.datapath.statistics().errors.XfrmOutStateExpired === 1);
      t.is(a.datapath.statistics().errors.XfrmOutStateExpired, 1);
    },
  );
}

for (const [unit, limit] of [
  ["packets", FEW],
  ["bytes", FEW * PACKET_BYTES],
  // The packet that goes over it still passes (net/xfrm/xfrm_state.c, xfrm_state_check_expire).
  ["bytes", (FEW - 1) * PACKET_BYTES + 1],
] as const) {
  test.serial(
    `at a hard limit of ${limit} ${unit} the SA is refused to the packet, and an event tells`,
    async (t) => {
      const tunnel = await Tunnel.between();
      const events: ExpireEvent[] = [];
      const connection = tunnel.connection(IF_ID, undefined, { lifetime: { hard: { [unit]: limit } } });
      const a = await startSite(t, [connection.left], "auto", (event) => events.push(event));
      const b = await startSite(t, [{ ...connection.right, lifetime: {} }]);
      for (let i = 0; i < FEW + 2; i++) a.tun.send(PACKET);
      await until(() => events.length > 0 && a.datapath.statistics().errors.XfrmOutStateExpired === 2);
      t.deepEqual(events, [{ ifId: IF_ID, direction: "out", spi: 0x10000 + IF_ID, limit: "hard" }]);
      t.is(a.datapath.states()[0]?.stage, "hard");
      t.is(a.datapath.statistics().errors.XfrmOutStateExpired, 2);
      await until(() => b.datapath.states()[1]?.packets === FEW);
      t.is(b.datapath.states()[1]?.packets, FEW);
    },
  );
}

test.serial("the age of an SA does not follow the wall clock", async (t) => {
  const tunnel = await Tunnel.between();
  const tun = new FakeTun();
  t.teardown(() => tun.close());
  const wall = Date.now;
  t.teardown(() => {
    Date.now = wall;
  });
  let now = 5000;
  const events: ExpireEvent["limit"][] = [];
  const lifetime = { soft: { seconds: 60 }, hard: { seconds: 100 } };
  const datapath = await startDatapath({
    tunFds: [tun.fd],
    connections: [tunnel.connection(IF_ID, undefined, { lifetime }).left],
    onExpire: ({ limit }) => events.push(limit),
    clock: () => now,
  });
  t.teardown(() => datapath.stop());
  const stages = () => datapath.states().map(({ stage }) => stage);
  Date.now = () => wall() + 36e6;
  t.deepEqual(stages(), ["valid", "valid"], "10 hours forward");
  now += 60_000;
  Date.now = () => wall() - 36e6;
  t.deepEqual(stages(), ["soft", "soft"], "10 hours back");
  await until(() => events.length === 2);
  now += 39_999;
  t.deepEqual(stages(), ["soft", "soft"]);
  now += 1;
  t.deepEqual(stages(), ["hard", "hard"]);
  await until(() => events.length === 4);
  t.deepEqual(events, ["soft", "soft", "hard", "hard"]);
  Date.now = wall;
  t.true(datapath.states().every(({ added }) => Math.abs(added - Date.now()) < 600_000));
});

test.serial("an SA whose time is over is refused in both directions", async (t) => {
  const tunnel = await Tunnel.between();
  const events: ExpireEvent[] = [];
  const connection = tunnel.connection(IF_ID);
  const lifetime = { hard: { seconds: 1 } };
  const a = await startSite(t, [connection.left]);
  const b = await startSite(t, [{ ...connection.right, lifetime }], "auto", (event) => events.push(event));
  await until(() => events.length === 2, 10_000);
  t.deepEqual(
    events.map(({ direction, limit }) => [direction, limit]),
    [
      ["out", "hard"],
      ["in", "hard"],
    ],
  );
  a.tun.send(PACKET);
  b.tun.send(PACKET);
  const errors = () => b.datapath.statistics().errors;
  await until(() => errors().XfrmInStateExpired === 1 && errors().XfrmOutStateExpired === 1);
  t.is(errors().XfrmInStateExpired, 1);
  t.is(errors().XfrmOutStateExpired, 1);
});
