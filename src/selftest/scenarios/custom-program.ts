import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { bpfObjectPath, cliPath } from "../../sys/paths.js";
import { LOSS_MS } from "../patience.js";
import { type Scenario, type ScenarioContext, scenario } from "../scenario.js";
import { kernelBpf } from "./contract/kernel-subject.js";
import { type Branch, Hub } from "./contract/subject.js";
import { addUplink, packetsBySpi } from "./hub.js";

const TOPOLOGY = `
            hub                                   a
    ipsec0 (external)                      ipsec0 (if_id 11)
    10.0.0.1 to 10.0.0.4                   10.1.0.1 fd00:1::1
    172.16.1.100 v01 ================= v10 172.16.1.200

    172.16.2.100 v02 ================= v20 172.16.2.200
                                           10.1.0.1 fd00:1::1
                                           ipsec0 (if_id 12)
                                                  b

    Both peers own 10.1.0.1. examples/custom-program/spread.bpf.c gives each of the hub's addresses one of the peers.
`;

const SOURCES = ["10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4"];
const HOME = "10.0.0.4";
const SPI = { a: 0x1000, b: 0x2000 };

/** Which peer the example's hash gives a source; HOME has b by the program's map. */
function peerOf(source: string): "a" | "b" {
  if (source === HOME) return "b";
  const word = source.split(".").reduce((sum, byte) => sum * 256 + Number(byte), 0);
  const hash = Number((BigInt(word) * 2654435761n) & 0xffffffffn);
  return (hash >>> 16) % 2 === 0 ? "a" : "b";
}

async function build(t: ScenarioContext): Promise<Hub> {
  const hub = new Hub(t.ns("hub"));
  for (const [index, name] of (["a", "b"] as const).entries()) {
    const peer = t.ns(name);
    const branch: Branch = {
      ...{ name, ifId: index + 1, hub: hub.ns, peer, spi: SPI[name], subnets: [] },
      ...{ outer: await addUplink(t, hub.ns, peer, index + 1), inner: ["10.1.0.1/24", "fd00:1::1/64"] },
    };
    await kernelBpf.connect(branch, hub.folder);
    await peer.ip("route add 10.0.0.0/24 dev ipsec0");
  }
  return hub;
}

/** Two echo requests from each source. */
async function pingAll(hub: Hub): Promise<Record<string, number>> {
  const answers: Record<string, number> = {};
  for (const source of SOURCES)
    answers[source] = (await hub.ns.ping("10.1.0.1", { count: 2, args: ["-I", source] })).received;
  return answers;
}

const ALL_ANSWERED = Object.fromEntries(SOURCES.map((source) => [source, 2]));

/** Packets of each SA after `requests` from each source, and as many answers by the SA that follows it. */
function spread(requests: number, more: Record<string, number> = {}): Record<string, number> {
  const packets: Record<string, number> = { ...more };
  for (const source of SOURCES)
    for (const spi of [SPI[peerOf(source)], SPI[peerOf(source)] + 1])
      packets[`0x${spi.toString(16)}`] = (packets[`0x${spi.toString(16)}`] ?? 0) + requests;
  return packets;
}

const HEAD = `version: 1
backend: kernel-bpf
interface: {name: ipsec0, addresses: [${SOURCES.map((source) => `${source}/32`).join(", ")}, "fd00::1/128"]}
`;

const RULES = `connections:
  a: {if_id: 1, subnets: [10.1.0.0/24, "fd00:1::/64"]}
  b: {if_id: 2, subnets: [10.1.0.0/24, "fd00:1::/64"]}
rules:
  - {name: ipv6, match: {dst: "fd00:1::/64"}, to: a}
`;

/** What `xfrm-steer load` makes of its arguments where there is no steer.yaml. */
const NO_RULES = "connections: {}\n";

/** @param constants as in YAML */
const program = (constants: string) =>
  `program: {file: "${bpfObjectPath("spread")}", constants: ${constants}, maps: {homes: {${HOME}: 2}}}\n`;

const routeIn = (hub: Hub) => hub.ns.ip("route add 10.1.0.0/24 dev ipsec0\nroute add fd00:1::/64 dev ipsec0");

/** No answer, and no SA that was used more than before. */
async function expectDropped(t: ScenarioContext, hub: Hub, address = "10.1.0.1"): Promise<void> {
  const before = await packetsBySpi(hub.ns);
  t.expect(`ping ${address}`, await hub.ns.ping(address, { count: 1, waitMs: LOSS_MS }), {
    sent: 1,
    received: 0,
  });
  t.expect("packets by SPI", await packetsBySpi(hub.ns), before);
}

const beforeRules = scenario({
  name: "custom-program-before-rules",
  topology: TOPOLOGY,
  needs: kernelBpf.needs,
  typicalMs: 15_000,
  async run(t) {
    const hub = await build(t);
    await hub.use(async () => {
      await t.step(
        "with no opinion of the program's, the rules decide: they have nothing for IPv4",
        async () => {
          await hub.apply(HEAD + RULES + program("{n: 0}"));
          await routeIn(hub);
          await expectDropped(t, hub);
        },
      );
      await t.step(
        "`xfrm-steer load` swaps it in with constants and map entries: each source goes to its peer",
        async () => {
          const policy = join(hub.folder, "steer.yaml");
          writeFileSync(policy, HEAD + RULES);
          const settings = ["--set", "n=2", "--set", "if_ids=1,2", "--map", `homes:${HOME}=2`];
          const loaded = await hub.ns.exec(
            process.execPath,
            cliPath,
            "load",
            bpfObjectPath("spread"),
            policy,
            ...settings,
          );
          t.expect("load", [loaded.status, loaded.stderr], [0, ""]);
          t.expect(
            "says so",
            loaded.stdout.split("\n")[0],
            "ipsec0: generation 2 swapped in by the kernel-bpf backend",
          );
          t.expect("answers", await pingAll(hub), ALL_ANSWERED);
          t.expect("packets by SPI", await packetsBySpi(hub.ns), spread(2));
        },
      );
      await t.step("IPv6 goes by the rule behind the program", async () => {
        t.expect("ping", await hub.ns.ping("fd00:1::1"), { sent: 3, received: 3 });
        t.expect("packets by SPI", await packetsBySpi(hub.ns), spread(2, { "0x1000": 3, "0x1001": 3 }));
      });
      await t.step("status counts by connection", async () => {
        const sent = (await hub.status())?.connections.map(({ name, sent }) => [name, sent.packets]);
        const packets = spread(2, { "0x1000": 3 });
        t.expect("sent", sent, [
          ["a", packets["0x1000"]],
          ["b", packets["0x2000"]],
        ]);
      });
      await t.step("an if_id of no connection is dropped", async () => {
        await hub.apply(HEAD + RULES + program("{n: 1, if_ids: [3]}"));
        await expectDropped(t, hub);
      });
    });
  },
});

const alone = scenario({
  name: "custom-program-alone",
  topology: TOPOLOGY,
  needs: kernelBpf.needs,
  typicalMs: 8_000,
  async run(t) {
    const hub = await build(t);
    await hub.use(async () => {
      await t.step("without an opinion of the program's, all is dropped", async () => {
        await hub.apply(HEAD + NO_RULES + program("{n: 0}"));
        await routeIn(hub);
        await expectDropped(t, hub);
      });
      await t.step("each source goes to its peer, and the answers come in", async () => {
        await hub.apply(HEAD + NO_RULES + program("{n: 2, if_ids: [1, 2]}"));
        t.expect("answers", await pingAll(hub), ALL_ANSWERED);
        t.expect("packets by SPI", await packetsBySpi(hub.ns), spread(2));
      });
      await t.step("what it has no opinion on is dropped", async () => {
        await expectDropped(t, hub, "fd00:1::1");
      });
      await t.step("if_id 0 is dropped", async () => {
        await hub.apply(HEAD + NO_RULES + program("{n: 1, if_ids: [0]}"));
        await expectDropped(t, hub);
      });
    });
  },
});

/** examples/custom-program in a real kernel. */
export const customProgram: readonly Scenario[] = [beforeRules, alone];
