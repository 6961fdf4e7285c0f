import { once } from "node:events";
import { chmodSync, readFileSync } from "node:fs";
import { createInterface } from "node:readline";
import test, { type ExecutionContext } from "ava";
import { espAddress } from "../../src/capture/esp-packet.js";
import { type CapturedSa, KnownSas } from "../../src/capture/known-sas.js";
import { parseAddress } from "../../src/sys/sockaddr.js";
import { Gateway } from "../backends/gateway.js";
import { execute } from "../support/cli.js";
import { serialRootTest } from "../support/root-test.js";

/** Echo requests and replies, each inside and outside. */
const PINGS = 3;
const PACKETS = 4 * PINGS;

const FIELDS = ["frame.interface_name", "frame.packet_flags_direction", "frame.protocols", "frame.comment"];

/** Captures PINGS pings, one by one: ESP packets that are under way together may leave as one GSO packet. */
async function capturePings(t: ExecutionContext, gateway: Gateway): Promise<string> {
  const file = gateway.write("capture.pcapng", "");
  const capture = gateway.start("hub", "capture", "ipsec0", "-o", file, "--count", `${PACKETS}`);
  t.teardown(() => void capture.kill());
  const ended = once(capture, "exit");
  for await (const line of createInterface(capture.stderr)) if (line.startsWith("capturing ipsec0")) break;
  capture.stderr.resume();
  for (let i = 0; i < PINGS; i++) t.is(await gateway.ping("10.1.0.1", "10.0.0.1", 1), 1);
  t.deepEqual(await ended, [0, null]);
  return file;
}

/** How many packets of each kind tshark finds in a capture. */
async function packetsIn(t: ExecutionContext, file: string): Promise<Record<string, number>> {
  const args = ["-r", file, "-T", "fields", ...FIELDS.flatMap((field) => ["-e", field])];
  const { code, stdout, stderr } = await execute("tshark", args);
  t.is(code, 0, stderr);
  const counted = new Map<string, number>();
  for (const row of stdout.trim().split("\n")) {
    const [name = "", direction = "", protocols = "", comment = ""] = row.split("\t");
    const what = [name, Number(direction) === 1 ? "in" : "out", protocols, comment].join(" | ");
    counted.set(what, (counted.get(what) ?? 0) + 1);
  }
  return Object.fromEntries(counted);
}

serialRootTest(
  "tshark reads a capture of both sides, with if_id, SPI and connection as comments",
  async (t) => {
    t.timeout(180_000);
    const gateway = await Gateway.build(t);
    await gateway.up();
    const file = await capturePings(t, gateway);
    t.deepEqual(await packetsIn(t, file), {
      "ipsec0 (inner) | out | raw:ip:icmp:data | if_id 101, SPI 0x00001001, connection site": PINGS,
      "ipsec0 (inner) | in | raw:ip:icmp:data | if_id 101, SPI 0x00001002, connection site": PINGS,
      "ESP (outer) | out | raw:ip:udp:udpencap:esp | if_id 101, SPI 0x00001001, connection site": PINGS,
      "ESP (outer) | in | raw:ip:udp:udpencap:esp | if_id 101, SPI 0x00001002, connection site": PINGS,
    });
    const nowhere = await gateway.cli("hub", "capture", "ipsec0", "-o", "/nonexistent/x", "--seconds", "1");
    t.is(nowhere.code, 1);
    t.is(
      nowhere.stderr,
      "xfrm-steer: /nonexistent/x cannot be written (ENOENT); name a file in a folder that is there and yours\n",
    );
    const text = readFileSync(file).toString("latin1");
    for (const key of gateway.keys())
      t.false(
        text.includes(Buffer.from(key, "hex").toString("latin1")) || text.includes(key),
        "no key in the file",
      );
  },
);

serialRootTest(
  "after a rekey by `sa`, packets carry the SAs in use, and no SPI that is a guess",
  async (t) => {
    t.timeout(180_000);
    const gateway = await Gateway.build(t);
    await gateway.up();
    const keyOf = (spi: string) => {
      const path = gateway.write(`keys/${spi}.key`, spi.slice(2).padStart(40, "5a"));
      chmodSync(path, 0o600);
      return path;
    };
    for (const [node, ...step] of [
      ["site", "add", "ipsec0", "hub", "--spi", "0x2001"],
      ["hub", "switch", "ipsec0", "site", "--spi", "0x2001"],
      ["hub", "add", "ipsec0", "site", "--spi", "0x2002"],
    ] as const) {
      const { code, stderr } = await gateway.cli(node, "sa", ...step, "--key", `file:${keyOf(step[4])}`);
      t.is(code, 0, stderr);
    }
    t.deepEqual(await packetsIn(t, await capturePings(t, gateway)), {
      "ipsec0 (inner) | out | raw:ip:icmp:data | if_id 101, SPI 0x00002001, connection site": PINGS,
      "ipsec0 (inner) | in | raw:ip:icmp:data | if_id 101, connection site": PINGS,
      "ESP (outer) | out | raw:ip:udp:udpencap:esp | if_id 101, SPI 0x00002001, connection site": PINGS,
      "ESP (outer) | in | raw:ip:udp:udpencap:esp | if_id 101, SPI 0x00001002, connection site": PINGS,
    });
  },
);

serialRootTest("an interface that is not of the userspace backend cannot be captured", async (t) => {
  const gateway = await Gateway.build(t);
  const { code, stderr } = await gateway.cli("hub", "capture", "wan", "-o", "-");
  t.is(code, 1);
  t.regex(stderr, /wan is not an interface of the userspace backend/);
});

test("an SA is found by destination and SPI, which is another one's at another destination", (t) => {
  const sa = (ifId: number, direction: "in" | "out", destination: string, spi: number): CapturedSa => ({
    ...{ connection: `c${ifId}`, ifId, direction, destination, spi },
    ...{ sourcePort: 4500, destinationPort: 4500 + ifId },
  });
  const known = new KnownSas([
    sa(1, "out", "198.51.100.1", 0x1000),
    sa(2, "out", "198.51.100.2", 0x1000),
    sa(3, "out", "2001:db8::2", 0x1000),
    sa(1, "in", "192.0.2.1", 0x2000),
    sa(2, "in", "192.0.2.2", 0x2000),
    sa(2, "in", "192.0.2.2", 0x2001),
  ]);
  const found = (direction: "in" | "out", destination: string, spi: number) =>
    known.of(direction, { destination: parseAddress(destination).bytes, spi })?.ifId;
  t.is(found("out", "198.51.100.1", 0x1000), 1);
  t.is(found("out", "198.51.100.2", 0x1000), 2);
  t.is(found("out", "2001:db8::2", 0x1000), 3);
  t.is(found("in", "192.0.2.1", 0x2000), 1);
  t.is(found("in", "192.0.2.2", 0x2000), 2);
  t.is(found("in", "198.51.100.1", 0x1000), undefined);
  t.is(found("out", "198.51.100.3", 0x1000), undefined);
  t.deepEqual(
    known.candidates("in", 2).map(({ spi }) => spi),
    [0x2000, 0x2001],
  );
  t.deepEqual(known.candidates("in", 9), []);
  t.deepEqual([...known.ports].sort(), [4500, 4501, 4502, 4503]);
});

test("destination and SPI are found behind either IP header, bare or in UDP of the encapsulation's ports only", (t) => {
  const ports = new Set([4500]);
  const v4 = (protocol: number, payload: Buffer, fragment = 0) => {
    const header = Buffer.alloc(20);
    header[0] = 0x45;
    header.writeUInt16BE(fragment, 6);
    header[9] = protocol;
    header.set([192, 0, 2, 1, 192, 0, 2, 2], 12);
    return Buffer.concat([header, payload]);
  };
  const v6 = (protocol: number, payload: Buffer) => {
    const header = Buffer.alloc(40);
    header[0] = 0x60;
    header[6] = protocol;
    header.set(parseAddress("2001:db8::2").bytes, 24);
    return Buffer.concat([header, payload]);
  };
  const esp = Buffer.from("0000100100000001", "hex");
  const udp = (source: number, destination: number, payload: Buffer) => {
    const header = Buffer.alloc(8);
    header.writeUInt16BE(source, 0);
    header.writeUInt16BE(destination, 2);
    return Buffer.concat([header, payload]);
  };
  const found = (packet: Buffer, protocol = packet[0] === 0x45 ? 0x0800 : 0x86dd) => {
    const address = espAddress(packet, protocol, ports);
    return address && `${Buffer.from(address.destination).toString("hex")} ${address.spi.toString(16)}`;
  };
  const V4 = "c0000202 1001";
  const V6 = "20010db8000000000000000000000002 1001";
  t.is(found(v4(50, esp)), V4);
  t.is(found(v6(50, esp)), V6);
  t.is(found(v4(17, udp(4500, 4500, esp))), V4);
  t.is(found(v6(17, udp(40000, 4500, esp))), V6);
  t.is(found(v4(17, udp(53, 53, esp))), null);
  t.is(found(v4(17, udp(4500, 4500, Buffer.alloc(8)))), null, "the non-ESP marker");
  t.is(found(v4(17, udp(4500, 4500, Buffer.of(0xff)))), null, "a keepalive");
  t.is(found(v4(50, esp, 100)), null, "a later fragment");
  t.is(found(v4(6, esp)), null);
  for (const packet of [v4(50, esp), v6(50, esp)]) {
    t.is(found(packet, 0x88cc), null, "LLDP");
    for (let size = 0; size < packet.length - 4; size++)
      t.is(found(packet.subarray(0, size), packet[0] === 0x45 ? 0x0800 : 0x86dd), null, "cut short");
  }
});
