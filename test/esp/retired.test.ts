/** Keys that come back: none starts its numbers again (RFC 4303 sections 3.3.3 and 3.4.3). */
import { randomBytes } from "node:crypto";
import { createSocket, type Socket } from "node:dgram";
import { once } from "node:events";
import test, { type ExecutionContext } from "ava";
import type { ConnectionConfig } from "../../src/esp/index.js";
import { frame, ipv4 } from "./frames.js";
import { type Site, startSite, Tunnel, until } from "./site.js";

const IF_ID = 101;
const PACKET = frame(ipv4(100));

/** Two data paths, and a recorder of what the left one sends on the way. */
interface Scene {
  readonly a: Site;
  readonly b: Site;
  /** With keys that the data path may wipe. */
  left(): ConnectionConfig;
  right(): ConnectionConfig;
  readonly recorded: Buffer[];
  /** Numbers of packets that a sends one after another, all of which b gets. */
  cross(count: number): Promise<number[]>;
  /** Sends all that was recorded once more. @returns how many of them b refuses as seen before */
  replay(): Promise<number>;
}

async function setUp(t: ExecutionContext): Promise<Scene> {
  const tunnel = await Tunnel.between();
  const secrets = [randomBytes(20), randomBytes(20)] as const;
  const recorder: Socket = createSocket("udp4");
  t.teardown(() => recorder.close());
  recorder.bind(0, "127.0.0.3");
  await once(recorder, "listening");
  const right = () => tunnel.connection(IF_ID, secrets).right;
  const left = () => ({
    ...tunnel.connection(IF_ID, secrets).left,
    remote: "127.0.0.3",
    remotePort: recorder.address().port,
  });
  const { local, localPort } = right();
  const recorded: Buffer[] = [];
  recorder.on("message", (packet) => {
    recorded.push(packet);
    recorder.send(packet, localPort, local);
  });
  const a = await startSite(t, [left()]);
  const b = await startSite(t, [right()]);
  const cross = async (count: number): Promise<number[]> => {
    const from = recorded.length;
    for (let i = 0; i < count; i++) a.tun.send(PACKET);
    await until(() => recorded.length === from + count);
    for (let i = 0; i < count; i++) t.truthy(b.tun.receive(), "a packet is lost");
    return recorded.slice(from).map((packet) => packet.readUInt32BE(4));
  };
  const replay = async (): Promise<number> => {
    const refused = () => b.datapath.statistics().errors.XfrmInStateSeqError;
    const before = refused();
    for (const packet of recorded) recorder.send(packet, localPort, local);
    await until(() => refused() === before + recorded.length, 2000);
    t.is(b.tun.receive(0), null, "a replayed packet is delivered");
    return refused() - before;
  };
  return { a, b, left, right, recorded, cross, replay };
}

test.serial("after a rekey, an update that names the old SA goes on from its last number", async (t) => {
  const { a, b, left, right, recorded, cross, replay } = await setUp(t);
  t.deepEqual(await cross(5), [1, 2, 3, 4, 5]);
  const next = { spi: 0x9000, key: randomBytes(20) };
  const sa = () => ({ spi: next.spi, key: Buffer.from(next.key) });
  await b.datapath.rekey(IF_ID, { step: "add", sa: sa() });
  await a.datapath.rekey(IF_ID, { step: "switch", sa: sa() });
  await b.datapath.rekey(IF_ID, { step: "remove", spi: right().in.spi });
  const old = recorded.splice(0);
  t.deepEqual(await cross(2), [1, 2]);

  await b.datapath.update([right()]);
  recorded.splice(0, 2, ...old);
  t.is(await replay(), 5);
  t.is(b.datapath.states()[1]?.sequence, 5);
  await a.datapath.update([left()]);
  t.deepEqual(await cross(2), [6, 7]);
  t.is(await replay(), 7);

  await b.datapath.rekey(IF_ID, { step: "add", sa: sa() });
  await a.datapath.rekey(IF_ID, { step: "switch", sa: sa() });
  t.deepEqual(await cross(1), [3]);
});

test.serial("a connection that comes back goes on from the last numbers of its keys", async (t) => {
  const { a, b, left, right, cross, replay } = await setUp(t);
  await cross(3);
  for (let round = 0; round < 2; round++) {
    await a.datapath.update([]);
    await b.datapath.update([]);
    await b.datapath.update([right()]);
    await a.datapath.update([left()]);
    t.is(await replay(), 3 + round, "also when it was not used in between");
    await a.datapath.update([]);
    await a.datapath.update([left()]);
    t.deepEqual(await cross(1), [4 + round]);
  }
  const [out] = a.datapath.states();
  t.deepEqual([out?.sequence, out?.packets], [5, 1]);
});

test.serial(
  "an SA that gets another address and keeps its key goes on from the other's numbers",
  async (t) => {
    const { a, b, left, right, cross, replay } = await setUp(t);
    await cross(3);
    const moved = () => ({ ...right(), remote: "127.0.0.4" });
    await b.datapath.update([moved()]);
    t.is(await replay(), 3);
    t.deepEqual(await cross(1), [4]);
    await a.datapath.update([{ ...left(), mode: "transport" }]);
    await a.datapath.update([left()]);
    t.deepEqual(await cross(1), [5]);
    t.is(await replay(), 5);
  },
);

test.serial("an update that fails leaves an SA whose address it would have changed as it was", async (t) => {
  const { b, right, cross } = await setUp(t);
  await cross(2);
  await t.throwsAsync(b.datapath.update([{ ...right(), local: "192.0.2.99" }]), { name: "SystemError" });
  t.deepEqual(await cross(1), [3]);
});
