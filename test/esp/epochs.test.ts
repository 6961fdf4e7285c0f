/** An update that gives if_ids to other connections, seen from the TUN device and from the peers. */
import { randomBytes } from "node:crypto";
import test, { type ExecutionContext } from "ava";
import { FRAME_HEADER_SIZE, readShim, SHIM_TAG, tagOf } from "../../src/esp/framing.js";
import {
  type ConnectionConfig,
  type DatapathStatistics,
  type SwitchOver,
  startDatapath,
} from "../../src/esp/index.js";
import { FakeTun } from "./fake-tun.js";
import { frame, ipv4 } from "./frames.js";
import { type Site, startSite, Tunnel, until } from "./site.js";

/** What its packets are long. */
const SIZE = { a: 300, b: 400 } as const;
type Tenant = keyof typeof SIZE;
const TENANTS = ["a", "b"] as const;

const counted = ({ errors, io }: DatapathStatistics): Record<string, number> =>
  Object.fromEntries(Object.entries({ ...errors, ...io }).filter(([, value]) => value !== 0));

/** Two tenants of one gateway, with keys that stay whatever their if_ids are, and a peer each. */
class Tenants {
  readonly #tunnels: Readonly<Record<Tenant, Tunnel>>;
  readonly #secrets = {
    a: [randomBytes(20), randomBytes(20)],
    b: [randomBytes(20), randomBytes(20)],
  } as const;

  private constructor(tunnels: Readonly<Record<Tenant, Tunnel>>) {
    this.#tunnels = tunnels;
  }

  static async make(): Promise<Tenants> {
    const [a, b] = [
      await Tunnel.between("127.0.0.1", "127.0.0.2"),
      await Tunnel.between("127.0.0.1", "127.0.0.3"),
    ];
    return new Tenants({ a, b });
  }

  #ends(tenant: Tenant, ifId: number, overrides: Partial<ConnectionConfig> = {}) {
    const { left, right } = this.#tunnels[tenant].connection(7, [...this.#secrets[tenant]] as never);
    const spis = tenant === "a" ? 0x1000 : 0x2000;
    const spi = ({ spi, key }: { spi: number; key: Uint8Array }) => ({ spi: spi + spis, key });
    return {
      left: { ...left, ifId, out: spi(left.out), in: spi(left.in), ...overrides },
      right: { ...right, out: spi(right.out), in: spi(right.in) },
    };
  }

  gateway(
    ifIds: Partial<Record<Tenant, number>>,
    overrides: Partial<ConnectionConfig> = {},
  ): ConnectionConfig[] {
    return TENANTS.flatMap((tenant) => {
      const ifId = ifIds[tenant];
      return ifId === undefined ? [] : [this.#ends(tenant, ifId, overrides).left];
    });
  }

  peer(t: ExecutionContext, tenant: Tenant): Promise<Site> {
    return startSite(t, [this.#ends(tenant, 7).right]);
  }
}

async function setUp(t: ExecutionContext) {
  const tenants = await Tenants.make();
  const tun = new FakeTun();
  t.teardown(() => tun.close());
  const connections = tenants.gateway({ a: 1, b: 2 });
  const datapath = await startDatapath({ tunFds: [tun.fd], connections });
  t.teardown(() => datapath.stop().catch(() => {}));
  const peers = { a: await tenants.peer(t, "a"), b: await tenants.peer(t, "b") };
  return { tenants, tun, datapath, peers };
}

/** A packet of a tenant, as the program of an epoch lets it out. */
const sent = (tenant: Tenant, ifId: number, epoch: number): Buffer =>
  frame(ipv4(SIZE[tenant]), { ifId, tag: tagOf(epoch) });

/** Sizes of the packets that came to a peer until now. */
function received({ tun }: Site, wait = 0): number[] {
  const sizes: number[] = [];
  for (let got = tun.receive(wait); got !== null; got = tun.receive(0))
    sizes.push(got.length - FRAME_HEADER_SIZE);
  return sizes;
}

test.serial(
  "frames that wait while if_ids are exchanged go to the connection that they were for",
  async (t) => {
    const { tenants, tun, datapath, peers } = await setUp(t);
    const seen = { a: [] as number[], b: [] as number[] };
    const count = { a: 0, b: 0 };
    const ifIds: Record<Tenant, number> = { a: 1, b: 2 };
    let epoch = 0;
    const send = (): void => {
      for (const tenant of TENANTS) {
        t.true(tun.send(sent(tenant, ifIds[tenant], epoch)));
        count[tenant]++;
      }
    };
    for (let round = 0; round < 50; round++) {
      const next = { a: ifIds.b, b: ifIds.a };
      const update = datapath.update(tenants.gateway(next), {
        epoch: epoch + 1,
        run() {
          send(); // they are in the queue still when the programs change
          Object.assign(ifIds, next);
          epoch++;
          send();
        },
      });
      send();
      await update;
      for (const tenant of TENANTS) seen[tenant].push(...received(peers[tenant]));
    }
    await until(() => {
      for (const tenant of TENANTS) seen[tenant].push(...received(peers[tenant]));
      return seen.a.length + seen.b.length >= count.a + count.b;
    });
    for (const tenant of TENANTS) {
      t.deepEqual(new Set(seen[tenant]), new Set([SIZE[tenant]]));
      t.is(seen[tenant].length, count[tenant], "none is lost");
    }
    t.deepEqual(counted(datapath.statistics()), {});
  },
);

test.serial("what comes in is of the epoch whose if_id it names", async (t) => {
  const { tenants, tun, datapath, peers } = await setUp(t);
  const exchange = async (epoch: number, ifIds: Record<Tenant, number>) => {
    for (const tenant of TENANTS) peers[tenant].tun.send(frame(ipv4(SIZE[tenant]), { ifId: 7 }));
    await datapath.update(tenants.gateway(ifIds), { epoch, run: () => {} });
    for (const tenant of TENANTS) peers[tenant].tun.send(frame(ipv4(SIZE[tenant]), { ifId: 7 }));
    for (let i = 0; i < 4; i++) {
      const got = tun.receive() as Buffer;
      const isNew = got.readInt32BE(SHIM_TAG) === tagOf(epoch);
      t.true(isNew || got.readInt32BE(SHIM_TAG) === tagOf(epoch - 1));
      const tenant = got.length - FRAME_HEADER_SIZE === SIZE.a ? "a" : "b";
      const before = { a: ifIds.b, b: ifIds.a };
      t.is(readShim(got.subarray(SHIM_TAG))?.ifId, (isNew ? ifIds : before)[tenant]);
    }
  };
  for (let round = 0; round < 10; round++)
    await exchange(round + 1, round % 2 === 0 ? { a: 2, b: 1 } : { a: 1, b: 2 });
});

test.serial("once an update is done, frames of the epoch before are dropped and counted", async (t) => {
  const { tenants, tun, datapath, peers } = await setUp(t);
  await datapath.update(tenants.gateway({ a: 2, b: 1 }), { epoch: 1, run: () => {} });
  tun.send(sent("a", 1, 0));
  tun.send(sent("b", 2, 0));
  tun.send(sent("a", 1, 2));
  tun.send(sent("a", 2, 1));
  t.deepEqual(received(peers.a, 5000), [SIZE.a]);
  t.deepEqual(received(peers.b), []);
  t.deepEqual(counted(datapath.statistics()), { txOtherEpoch: 3 });
});

test.serial(
  "a connection that goes is served while its frames wait, and its SA counts on if it comes back",
  async (t) => {
    const { tenants, tun, datapath, peers } = await setUp(t);
    const gone: SwitchOver = { epoch: 1, run: () => void tun.send(sent("a", 1, 0)) };
    await datapath.update(tenants.gateway({ b: 1 }), gone);
    tun.send(sent("b", 1, 1));
    t.deepEqual(received(peers.b, 5000), [SIZE.b]);
    t.deepEqual(received(peers.a, 5000), [SIZE.a]);
    await datapath.update(tenants.gateway({ a: 2, b: 1 }), { epoch: 2, run: () => {} });
    tun.send(sent("a", 2, 2));
    t.deepEqual(received(peers.a, 5000), [SIZE.a], "a number that was used is not used again");
  },
);

test.serial("an SA that takes over a key is the only one that sends with it, in either epoch", async (t) => {
  const { tenants, tun, datapath, peers } = await setUp(t);
  tun.send(sent("a", 1, 0));
  tun.send(sent("b", 2, 0));
  t.deepEqual(received(peers.a, 5000), [SIZE.a]);
  t.deepEqual(received(peers.b, 5000), [SIZE.b]);
  // With extended numbers these are other SAs, which have the keys of those before.
  await datapath.update(tenants.gateway({ a: 2, b: 1 }, { esn: true }), {
    epoch: 1,
    run: () => void tun.send(sent("a", 1, 0)),
  });
  await until(() => datapath.statistics().errors.XfrmOutNoStates === 1);
  t.deepEqual(counted(datapath.statistics()), { XfrmOutNoStates: 1, txCarrierErrors: 1 });
  const states = datapath.states().filter(({ direction }) => direction === "out");
  t.deepEqual(
    states.map(({ sequence }) => sequence),
    [1, 1],
    "they go on from the last number",
  );
});

test.serial("an update that is refused leaves the epoch as it was", async (t) => {
  const { tenants, tun, datapath, peers } = await setUp(t);
  const refused = { ...(tenants.gateway({ a: 2 })[0] as ConnectionConfig), local: "192.0.2.99" };
  const run = () => t.fail("programs were changed");
  await t.throwsAsync(datapath.update([refused], { epoch: 1, run }), { name: "SystemError" });
  tun.send(sent("a", 1, 0));
  t.deepEqual(received(peers.a, 5000), [SIZE.a]);
  await datapath.update(tenants.gateway({ a: 2, b: 1 }), { epoch: 2, run: () => {} });
  tun.send(sent("a", 2, 2));
  t.deepEqual(received(peers.a, 5000), [SIZE.a]);
});

test.serial(
  "a data path whose programs cannot change ends, rather than to serve half of a change",
  async (t) => {
    const { tenants, datapath } = await setUp(t);
    const run = () => {
      throw new Error("no memory");
    };
    await t.throwsAsync(datapath.update(tenants.gateway({ a: 2, b: 1 }), { epoch: 1, run }), {
      message: "no memory",
    });
    await datapath.ended;
    t.pass();
  },
);
