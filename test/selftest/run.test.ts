import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test, { type ExecutionContext } from "ava";
import { espSpi } from "../../src/selftest/capture.js";
import { tcpFlow, udpFlow } from "../../src/selftest/index.js";
import { KtapParser, type KtapTest } from "../../src/selftest/ktap-parser.js";
import type { Namespace } from "../../src/selftest/namespace.js";
import { runScenarios } from "../../src/selftest/run.js";
import type { Scenario } from "../../src/selftest/scenario.js";

// These make namespaces, which takes root.
const rooted = process.getuid?.() === 0 ? test : test.skip;

async function runOne(
  definition: Partial<Scenario> & Pick<Scenario, "run">,
  captures?: string,
): Promise<KtapTest> {
  const parser = new KtapParser();
  const write = (text: string) => parser.push(text);
  await runScenarios([{ name: "it", topology: "\n  a --- b\n", ...definition }], { write, captures });
  return parser.tests[0] as KtapTest;
}

const namespaces = () => readdirSync("/run/netns");
const leavesNone = (t: ExecutionContext, made: readonly Namespace[]) => {
  for (const { handle } of made) t.false(namespaces().includes(handle), handle);
};

rooted(
  "a broken expectation tells what was expected, what was seen, the counters and the topology",
  async (t) => {
    const made: Namespace[] = [];
    const result = await runOne({
      async run(s) {
        const [a, b] = [s.ns("a"), s.ns("b")];
        made.push(a, b);
        await s.veth(
          { ns: a, device: "va", addresses: ["10.0.0.1/24"] },
          { ns: b, device: "vb", addresses: ["10.0.0.2/24"] },
        );
        t.true(namespaces().includes(a.handle));
        s.expect("ping", await a.ping("10.0.0.2"), { sent: 3, received: 2 });
      },
    });
    t.false(result.ok);
    const said = result.diagnostics.join("\n");
    t.regex(said, /^ping\nexpected: { received: 2, sent: 3 }\nseen: {5}{ received: 3, sent: 3 }$/m);
    t.regex(said, /^counters of a:\n {2}va: rxPackets \d+, txPackets \d+$/m);
    t.regex(said, /^ {2}a --- b$/m);
    leavesNone(t, made);
  },
);

rooted("steps are told as subtests, the failing one by name", async (t) => {
  const result = await runOne({
    async run(s) {
      await s.step("first", async () => {});
      await s.step("second", async () => s.expect("one", 1, 2));
    },
  });
  t.false(result.ok);
  t.deepEqual(
    result.diagnostics.filter((line) => /ok/.test(line)),
    ["  ok 1 first", "  not ok 2 second"],
  );
});

rooted("a scenario that does not end fails at its limit and is cleaned up", async (t) => {
  const made: Namespace[] = [];
  const result = await runOne({
    limitMs: 200,
    run(s) {
      made.push(s.ns("a"));
      made[0]?.start("sleep", "60");
      return new Promise(() => {});
    },
  });
  t.false(result.ok);
  t.true(result.diagnostics.includes("did not end within its 0.2 s"));
  leavesNone(t, made);
});

rooted("an interruption ends the running scenario and starts no other", async (t) => {
  const interruption = new AbortController();
  const parser = new KtapParser();
  const first: Scenario = {
    name: "first",
    topology: "",
    async run(s) {
      s.ns("a");
      interruption.abort();
      await new Promise(() => {});
    },
  };
  const never: Scenario = { name: "never", topology: "", run: async () => t.fail() };
  await runScenarios([first, never], { write: (text) => parser.push(text), signal: interruption.signal });
  t.deepEqual(
    parser.tests.map(({ name, ok }) => [name, ok]),
    [["first", false]],
  );
});

rooted("flows count exactly what arrives, over both families", async (t) => {
  const result = await runOne({
    async run(s) {
      const [a, b] = [s.ns("a"), s.ns("b")];
      await s.veth(
        { ns: a, device: "va", addresses: ["10.0.0.1/24", "fd00::1/64"] },
        { ns: b, device: "vb", addresses: ["10.0.0.2/24", "fd00::2/64"] },
      );
      const wire = s.capture(a, "va");
      for (const address of ["10.0.0.2", "fd00::2"]) {
        const flow = { from: a, to: b, address, marker: `to ${address}` };
        s.expect("UDP", await udpFlow({ ...flow, count: 7 }), { sent: 7, received: 7 });
        s.expect("datagrams on the wire", wire.count(flow.marker), 7);
        s.expect("TCP", await tcpFlow({ ...flow, bytes: 3_000 }), { sent: 3_000, received: 3_000 });
      }
      const lost = { from: a, to: b, address: "10.0.0.9", waitMs: 100 };
      s.expect("UDP to nobody", (await udpFlow({ ...lost, count: 1 })).received, 0);
      s.expect("TCP to nobody", (await tcpFlow(lost)).received, 0);
    },
  });
  t.true(result.ok, result.diagnostics.join("\n"));
});

rooted("a failed scenario's captures are kept as pcap files", async (t) => {
  const folder = mkdtempSync(join(tmpdir(), "captures-"));
  t.teardown(() => rmSync(folder, { recursive: true }));
  await runOne(
    {
      async run(s) {
        const [a, b] = [s.ns("a"), s.ns("b")];
        await s.veth(
          { ns: a, device: "va", addresses: ["10.0.0.1/24"] },
          { ns: b, device: "vb", addresses: ["10.0.0.2/24"] },
        );
        s.capture(a, "va");
        await a.ping("10.0.0.2", { count: 1 });
        throw new Error("on purpose");
      },
    },
    folder,
  );
  t.deepEqual(readdirSync(folder), ["it-a-va.pcap"]);
  const pcap = readFileSync(join(folder, "it-a-va.pcap"));
  t.is(pcap.readUInt32LE(0), 0xa1b2c3d4);
  t.true(pcap.length > 24 + 16 + 98, "an echo request at least");
});

rooted("an ip command that fails names its line, and never a key", async (t) => {
  const key = `0x${"ab".repeat(20)}`;
  const result = await runOne({
    run: async (s) => {
      await s.ns("a").ip(`link show lo\nxfrm state add src 1.1.1.1 dst nonsense aead x ${key} 128`);
    },
  });
  const said = result.diagnostics.join("\n");
  t.regex(said, /xfrm state add src 1.1.1.1 dst nonsense aead x 0x\.\.\. 128/);
  t.false(said.includes(key.slice(2, 20)));
});

const frames: { name: string; frame: Buffer; spi: number | undefined }[] = [
  { name: "IPv4 ESP", frame: frame(0x0800, 9, 50, 20), spi: 0x1234 },
  { name: "IPv6 ESP", frame: frame(0x86dd, 6, 50, 40), spi: 0x1234 },
  { name: "IPv4 UDP", frame: frame(0x0800, 9, 17, 20), spi: undefined },
  { name: "ARP", frame: frame(0x0806, 9, 50, 20), spi: undefined },
  { name: "a runt", frame: Buffer.alloc(14), spi: undefined },
];
for (const { name, frame, spi } of frames) {
  test(`the SPI of ${name} is ${spi}`, (t) => t.is(espSpi(frame), spi));
}

/** An Ethernet frame: type, the IP header's protocol at an offset, and SPI 0x1234 behind the header. */
function frame(type: number, protocolAt: number, protocol: number, headerBytes: number): Buffer {
  const bytes = Buffer.alloc(14 + headerBytes + 8);
  bytes.writeUInt16BE(type, 12);
  bytes[14 + protocolAt] = protocol;
  bytes.writeUInt32BE(0x1234, 14 + headerBytes);
  return bytes;
}
