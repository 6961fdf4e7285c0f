import { setTimeout as sleep } from "node:timers/promises";
import { Scope } from "../sys/scope.js";
import { Agent, type Counted } from "./agent-client.js";
import { Capture } from "./capture.js";
import { BULK_BYTES, DATAGRAMS, FLOWS, type Flow, PINGS } from "./flows.js";
import { ping, startNode, statusOf } from "./node.js";
import { addRoutes, buildTopology, CONNECTIONS, type SiteName, type Topology } from "./topology.js";
import { belongs, decode, isPlaintext, type WirePacket, writeDecoderKeys } from "./wire.js";

/** One line of the demo's table. Counts are echo requests and replies, datagrams, or bytes of both directions (tcp). */
export interface FlowResult {
  readonly name: string;
  /** As the running policy counted it; null where no rule matched. */
  readonly rule: string | null;
  readonly connection: string | null;
  readonly if_id: number | null;
  readonly spi: number | null;
  readonly unit: "packets" | "bytes";
  readonly sent: number;
  readonly received: number;
  /** Packets from the hub that tshark decrypted under this SPI, all of them or one in `sampled`. */
  readonly on_wire: number;
  readonly sampled: number;
  readonly plaintext_on_wire: number;
  /** TCP only, both directions together. */
  readonly gbit_per_second: number | null;
}

export interface DemoResult {
  readonly pass: boolean;
  readonly backend: string;
  readonly flows: readonly FlowResult[];
  /** What was not as it should be. */
  readonly problems: readonly string[];
}

/** Of the bulk flows' packets one in so many is captured: decoding all of them would take a minute. */
const SAMPLED = 64;

type Say = (step: string) => void;

/** Runs the whole demo; leaves nothing behind, whatever happens. */
export async function runDemo(say: Say): Promise<DemoResult> {
  const scope = new Scope();
  try {
    say("building three network namespaces");
    const topology = buildTopology(scope);
    const { netns, policy } = topology;
    say("starting xfrm-steer in each");
    await Promise.all(
      (["hub", "site-a", "site-b"] as const).map((node) => startNode(netns[node], policy[node], scope)),
    );
    addRoutes(topology);
    const agents = {
      hub: await Agent.start(netns.hub, scope),
      "site-a": await Agent.start(netns["site-a"], scope),
      "site-b": await Agent.start(netns["site-b"], scope),
    };
    await listen(agents["site-a"]);
    await listen(agents["site-b"]);
    return await measure(topology, agents, scope, say);
  } finally {
    scope.close();
  }
}

/** Both sites listen for every flow: one that went to the wrong site would be counted there. */
async function listen(agent: Agent): Promise<void> {
  for (const { protocol, to, port } of FLOWS) {
    if (protocol === "ping" || port === null) continue;
    await agent.ask({ operation: protocol === "tcp" ? "tcpListen" : "udpListen", address: to, port });
  }
}

type Agents = Readonly<Record<"hub" | SiteName, Agent>>;

async function measure(topology: Topology, agents: Agents, scope: Scope, say: Say): Promise<DemoResult> {
  const { netns, folder } = topology;
  const capture = (name: string, filter: string) => Capture.start(topology, name, filter, scope);
  const bulk = (flow: Flow) => flow.protocol === "tcp";

  const clear = await capture("clear", "not udp port 4500");
  const small = await capture("small", "udp port 4500");
  say("ping and UDP flows");
  const sent = new Map<Flow, Outcome>();
  for (const flow of FLOWS.filter((flow) => !bulk(flow)))
    sent.set(flow, await send(flow, netns.hub, agents.hub, scope));
  await settled(agents);
  const missed = { small: await small.stop(), clear: 0 };

  // udp[12:4] is the ESP sequence number.
  const sample = await capture("sample", `udp port 4500 and (udp[12:4] & ${SAMPLED - 1} = 0)`);
  for (const flow of FLOWS.filter(bulk)) {
    say(`${flow.name}: ${BULK_BYTES / 1e6} MB each way over TCP`);
    sent.set(flow, await send(flow, netns.hub, agents.hub, scope));
  }
  await sample.stop();
  missed.clear = await clear.stop();

  const counted = { "site-a": await counts(agents["site-a"]), "site-b": await counts(agents["site-b"]) };
  const status = await statusOf(netns.hub, scope);
  say("decrypting the captures with tshark");
  const config = writeDecoderKeys(folder);
  const [clearPackets, ...espPackets] = await Promise.all(
    [clear, small, sample].map(({ file }) => decode(file, config, scope)),
  );
  const wire = { clear: clearPackets ?? [], esp: espPackets.flat() };

  const flows = FLOWS.map((flow) => resultOf(flow, sent.get(flow) as Outcome, counted, wire));
  const problems = [
    ...FLOWS.flatMap((flow, i) => problemsOf(flow, flows[i] as FlowResult, counted, wire.esp)),
    ...ruleProblems(status.rules, flows),
    ...wireProblems(wire, missed),
  ];
  return { pass: problems.length === 0, backend: status.backend, flows, problems };
}

interface Outcome {
  readonly sent: number;
  /** Replies that came back to the hub: echo replies, or bytes of the download. */
  readonly returned: number;
  readonly seconds: number | null;
}

async function send(flow: Flow, netns: string, hub: Agent, scope: Scope): Promise<Outcome> {
  const { from, to, port } = flow;
  if (flow.protocol === "ping" || port === null)
    return { sent: PINGS, returned: await ping(netns, from, to, PINGS, scope), seconds: null };
  if (flow.protocol === "udp") {
    await hub.ask({ operation: "udpSend", from, to, port, packets: DATAGRAMS, size: 200 });
    return { sent: DATAGRAMS, returned: 0, seconds: null };
  }
  const { received, seconds } = await hub.ask<{ received: number; seconds: number }>({
    operation: "tcpTransfer",
    from,
    to,
    port,
    bytes: BULK_BYTES,
  });
  return { sent: 2 * BULK_BYTES, returned: received, seconds };
}

const counts = (agent: Agent) => agent.ask<Counted>({ operation: "counted" });

/** Waits until what was sent has arrived, or for a second without news. */
async function settled(agents: Agents): Promise<void> {
  let before = "";
  for (let quiet = 0; quiet < 10; ) {
    const now = JSON.stringify([await counts(agents["site-a"]), await counts(agents["site-b"])]);
    quiet = now === before ? quiet + 1 : 0;
    before = now;
    await sleep(50);
  }
}

const key = ({ protocol, to, port }: Flow) => `${protocol} ${to} ${port}`;

function resultOf(
  flow: Flow,
  { sent, returned, seconds }: Outcome,
  counted: Readonly<Record<SiteName, Counted>>,
  wire: { clear: readonly WirePacket[]; esp: readonly WirePacket[] },
): FlowResult {
  const connection = flow.connection === null ? null : CONNECTIONS[flow.connection];
  const arrived =
    flow.connection === null ? total(counted, flow) : (counted[flow.connection][key(flow)] ?? 0);
  const spi = connection?.spiOut ?? null;
  return {
    name: flow.name,
    rule: flow.rule,
    connection: flow.connection,
    if_id: connection?.ifId ?? null,
    spi,
    unit: flow.protocol === "tcp" ? "bytes" : "packets",
    sent,
    received: arrived + returned,
    on_wire: wire.esp.filter((packet) => belongs(packet, flow) && packet.spi === spi && packet.authentic)
      .length,
    sampled: flow.protocol === "tcp" ? SAMPLED : 1,
    plaintext_on_wire: wire.clear.filter((packet) => isPlaintext(packet) && belongs(packet, flow)).length,
    gbit_per_second: seconds === null ? null : (sent * 8) / seconds / 1e9,
  };
}

function total(counted: Readonly<Record<SiteName, Counted>>, flow: Flow): number {
  return (counted["site-a"][key(flow)] ?? 0) + (counted["site-b"][key(flow)] ?? 0);
}

function problemsOf(
  flow: Flow,
  result: FlowResult,
  counted: Readonly<Record<SiteName, Counted>>,
  esp: readonly WirePacket[],
): string[] {
  const wanted = flow.connection === null ? 0 : result.sent;
  const problems: string[] = [];
  const check = (ok: boolean, problem: string) => {
    if (!ok) problems.push(`${flow.name}: ${problem}`);
  };
  check(result.received === wanted, `${result.received} of ${wanted} ${result.unit} arrived`);
  const other: SiteName = flow.connection === "site-a" ? "site-b" : "site-a";
  const strayed = counted[other][key(flow)] ?? 0;
  check(flow.connection === null || strayed === 0, `${strayed} ${result.unit} arrived at ${other}`);
  const elsewhere = esp.filter((packet) => belongs(packet, flow) && packet.spi !== result.spi).length;
  check(elsewhere === 0, `${elsewhere} packets were under another SPI`);
  if (flow.protocol === "tcp") check(result.on_wire > 0, "no packet of it in the sample from the wire");
  else check(result.on_wire === wanted, `${result.on_wire} of ${wanted} packets on the wire`);
  check(result.plaintext_on_wire === 0, `${result.plaintext_on_wire} packets in the clear`);
  return problems;
}

/** The rules that the flows are said to match must have counted them. */
function ruleProblems(
  rules: readonly { readonly name: string; readonly matched: { readonly packets: number } }[],
  flows: readonly FlowResult[],
): string[] {
  return rules
    .filter(({ name, matched }) => {
      const wanted = flows.filter(({ rule, unit }) => rule === name && unit === "packets");
      const least = wanted.reduce((sum, { sent }) => sum + sent, 0);
      return matched.packets < least || (flows.some(({ rule }) => rule === name) && matched.packets === 0);
    })
    .map(({ name, matched }) => `rule ${name} counted ${matched.packets} packets only`);
}

function wireProblems(
  wire: { clear: readonly WirePacket[]; esp: readonly WirePacket[] },
  missed: { clear: number; small: number },
): string[] {
  const plaintext = wire.clear.filter(isPlaintext).length;
  const undecoded = wire.esp.filter(({ spi, authentic }) => spi === null || !authentic).length;
  return [
    ...(plaintext > 0 ? [`${plaintext} IP packets on the wires were not ESP`] : []),
    ...(undecoded > 0 ? [`tshark could not decrypt ${undecoded} packets on port 4500`] : []),
    ...Object.entries(missed)
      .filter(([, count]) => count > 0)
      .map(([name, count]) => `the capture "${name}" missed ${count} packets`),
  ];
}
