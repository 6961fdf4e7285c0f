import { once } from "node:events";
import { readFileSync } from "node:fs";
import { createInterface } from "node:readline";
import test from "ava";
import { espSpi } from "../../src/capture/esp-packet.js";
import { Gateway } from "../backends/gateway.js";
import { execute } from "../support/cli.js";
import { serialRootTest } from "../support/root-test.js";

/** Echo requests and replies, each inside and outside. */
const PINGS = 3;
const PACKETS = 4 * PINGS;

serialRootTest(
  "tshark reads a capture of both sides, with if_id, SPI and connection as comments",
  async (t) => {
    t.timeout(180_000);
    const gateway = await Gateway.build(t);
    await gateway.up();
    const file = gateway.write("capture.pcapng", "");
    const capture = gateway.start("hub", "capture", "ipsec0", "-o", file, "--count", `${PACKETS}`);
    t.teardown(() => void capture.kill());
    const ended = once(capture, "exit");
    for await (const line of createInterface(capture.stderr)) if (line.startsWith("capturing ipsec0")) break;
    capture.stderr.resume();
    // One by one: ESP packets that are under way together may leave as one GSO packet.
    for (let i = 0; i < PINGS; i++) t.is(await gateway.ping("10.1.0.1", "10.0.0.1", 1), 1);
    t.deepEqual(await ended, [0, null]);

    const fields = [
      "frame.interface_name",
      "frame.packet_flags_direction",
      "frame.protocols",
      "frame.comment",
    ];
    const args = ["-r", file, "-T", "fields", ...fields.flatMap((field) => ["-e", field])];
    const { code, stdout, stderr } = await execute("tshark", args);
    t.is(code, 0, stderr);
    const rows = stdout.trim().split("\n");
    t.is(rows.length, PACKETS);
    const counted = new Map<string, number>();
    for (const row of rows) {
      const [name = "", direction = "", protocols = "", comment = ""] = row.split("\t");
      const what = [name, Number(direction) === 1 ? "in" : "out", protocols, comment].join(" | ");
      counted.set(what, (counted.get(what) ?? 0) + 1);
    }
    t.deepEqual(Object.fromEntries(counted), {
      "ipsec0 (inner) | out | raw:ip:icmp:data | if_id 101, SPI 0x00001001, connection site": PINGS,
      "ipsec0 (inner) | in | raw:ip:icmp:data | if_id 101, SPI 0x00001002, connection site": PINGS,
      "ESP (outer) | out | raw:ip:udp:udpencap:esp | if_id 101, SPI 0x00001001, connection site": PINGS,
      "ESP (outer) | in | raw:ip:udp:udpencap:esp | if_id 101, SPI 0x00001002, connection site": PINGS,
    });
    const text = readFileSync(file).toString("latin1");
    for (const key of gateway.keys())
      t.false(
        text.includes(Buffer.from(key, "hex").toString("latin1")) || text.includes(key),
        "no key in the file",
      );
  },
);

serialRootTest("an interface that is not of the userspace backend cannot be captured", async (t) => {
  const gateway = await Gateway.build(t);
  const { code, stderr } = await gateway.cli("hub", "capture", "wan", "-o", "-");
  t.is(code, 1);
  t.regex(stderr, /wan is not an interface of the userspace backend/);
});

test("the SPI is found behind either IP header, bare or in UDP of the encapsulation's ports only", (t) => {
  const ports = new Set([4500]);
  const v4 = (protocol: number, payload: Buffer, fragment = 0) => {
    const header = Buffer.alloc(20);
    header[0] = 0x45;
    header.writeUInt16BE(fragment, 6);
    header[9] = protocol;
    return Buffer.concat([header, payload]);
  };
  const v6 = (protocol: number, payload: Buffer) => {
    const header = Buffer.alloc(40);
    header[0] = 0x60;
    header[6] = protocol;
    return Buffer.concat([header, payload]);
  };
  const esp = Buffer.from("0000100100000001", "hex");
  const udp = (source: number, destination: number, payload: Buffer) => {
    const header = Buffer.alloc(8);
    header.writeUInt16BE(source, 0);
    header.writeUInt16BE(destination, 2);
    return Buffer.concat([header, payload]);
  };
  t.is(espSpi(v4(50, esp), ports), 0x1001);
  t.is(espSpi(v6(50, esp), ports), 0x1001);
  t.is(espSpi(v4(17, udp(4500, 4500, esp)), ports), 0x1001);
  t.is(espSpi(v6(17, udp(40000, 4500, esp)), ports), 0x1001);
  t.is(espSpi(v4(17, udp(53, 53, esp)), ports), null);
  t.is(espSpi(v4(17, udp(4500, 4500, Buffer.alloc(8))), ports), null, "the non-ESP marker");
  t.is(espSpi(v4(17, udp(4500, 4500, Buffer.of(0xff))), ports), null, "a keepalive");
  t.is(espSpi(v4(50, esp, 100), ports), null, "a later fragment");
  t.is(espSpi(v4(6, esp), ports), null);
});
