import { parsePolicy } from "../../../config/index.js";
import type { Policy } from "../../../config/policy.js";
import type { KernelVersion } from "../../../esp/offload/stack.js";
import { FAULT_NAMES, FAULTS, type Fault, type FaultName } from "../../../simulator/faults.js";
import { loadProfile, type Profile, parseProfile, profileNames } from "../../../simulator/profile.js";
import { type SimulationReport, simulate } from "../../../simulator/simulation/simulation.js";
import { type Scenario, type ScenarioContext, scenario } from "../../scenario.js";

const TOPOLOGY = `
      application, UDP echo
        |
      ipsec0 (TUN) -- steering programs, ESP engine -- simulated device sim0
                                                         |
                                                       wire0 (TUN) -- capture -- peers in software
`;

/** The modes and families that a connection can have, each through a device. */
function policy(type: "crypto" | "packet"): Policy {
  const connection = (n: number, what: string) =>
    `  c${n}: {if_id: ${n}, esp: {suite: aes128-gcm, replay_window: 256, out: {spi: ${0x1000 + n}, key: env:OUT_${n}}, ` +
    `in: {spi: ${0x2000 + n}, key: env:IN_${n}}, offload: {device: sim0, mode: ${type}}, ${what}`;
  const text = `
version: 1
interface: {name: ipsec0, addresses: [10.0.0.1/32, "fd00::1/128"]}
connections:
${connection(1, "mode: tunnel, local: 192.0.2.1, remote: 198.51.100.1}, subnets: [10.1.0.0/16]}")}
${connection(2, "mode: transport, local: 192.0.2.1, remote: 198.51.100.2}, subnets: [198.51.100.2/32]}")}
${connection(3, 'mode: tunnel, local: "2001:db8::1", remote: "2001:db8::3"}, subnets: ["fd00:3::/48"]}')}
${connection(4, 'mode: transport, local: "2001:db8::1", remote: "2001:db8::4"}, subnets: ["2001:db8::4/128"]}')}
`;
  const { policy: parsed, diagnostics } = parsePolicy(text, "scenario");
  if (parsed === null) throw new Error(`the scenario's policy: ${diagnostics[0]?.message}`);
  return parsed;
}

interface Run {
  readonly profile: Profile;
  readonly type?: "crypto" | "packet";
  readonly faults?: readonly FaultName[];
  readonly kernel?: KernelVersion;
}

async function run(
  t: ScenarioContext,
  { profile, type = "crypto", faults = [], kernel }: Run,
): Promise<SimulationReport> {
  const report = await simulate({
    policy: policy(type),
    profile,
    faults,
    ...(kernel === undefined ? {} : { kernel }),
  });
  t.note(`seed ${report.seed}, ${report.received} of ${report.sent} packets came back`);
  for (const { connection, direction, offloaded, reason } of report.sas)
    if (!offloaded) t.note(`${connection} ${direction}: ${reason}`);
  t.expect("in the clear on the wire", report.plaintext_on_wire, 0);
  t.expect("problems", report.problems, []);
  return report;
}

export const traffic: readonly Scenario[] = profileNames().map((profile) =>
  scenario({
    name: `offload-traffic-${profile}`,
    host: true,
    limitMs: 180_000,
    topology: TOPOLOGY,
    async run(t) {
      const type = profile === "mlx5-packet" ? "packet" : "crypto";
      const { sas, sent, received } = await run(t, { profile: loadProfile(profile), type });
      t.expect("packets that came back", received, sent);
      for (const { connection, direction, offloaded, hardware_packets, software_packets } of sas) {
        const [by, not] = offloaded
          ? [hardware_packets, software_packets]
          : [software_packets, hardware_packets];
        t.expect(`${connection} ${direction}: packets, and by whom`, [by, not], [sent / 4, 0]);
      }
    },
  }),
);

/** A device that takes every SA, and two of them as a bond. */
const IDEAL = loadProfile("ideal");
const BOND = parseProfile("{name: bond, source: two ideal.yaml, bond: [ideal, ideal]}", "scenario");

export const faults: readonly Scenario[] = FAULT_NAMES.map((fault) =>
  scenario({
    name: `offload-fault-${fault}`,
    host: true,
    limitMs: 180_000,
    topology: TOPOLOGY,
    async run(t) {
      const { summary, crypto }: Fault = FAULTS[fault];
      t.note(summary);
      const profile = fault === "bond-failover" ? BOND : IDEAL;
      const { sas, sent, received, xfrm_stat } = await run(t, { profile, faults: [fault] });
      const counted = Object.keys({ ...xfrm_stat.gateway, ...xfrm_stat.peer });
      t.expect("the counters that went up", counted, crypto === null ? [] : [crypto.counter]);
      t.expect("packets were lost", received < sent, crypto?.where === "gateway");
      const refused = ["table-full", "add-eopnotsupp", "add-einval"].includes(fault);
      t.expect("SAs offloaded", sas.filter(({ offloaded }) => offloaded).length, refused ? 0 : sas.length);
    },
  }),
);

export const trafficRules: readonly Scenario[] = [
  scenario({
    name: "offload-fault-wrong-device-packet-mode",
    host: true,
    limitMs: 180_000,
    topology: TOPOLOGY,
    async run(t) {
      const { xfrm_stat } = await run(t, { profile: IDEAL, type: "packet", faults: ["wrong-device"] });
      t.expect("packet offload never falls back", Object.keys(xfrm_stat.gateway), ["XfrmOutError"]);
    },
  }),
  scenario({
    name: "offload-inbound-if-id-from-6-16",
    host: true,
    limitMs: 180_000,
    topology: TOPOLOGY,
    async run(t) {
      const { sas, sent, received } = await run(t, { profile: IDEAL, kernel: [6, 16] });
      t.expect("packets that came back", received, sent);
      for (const { connection, direction, offloaded } of sas)
        t.expect(`${connection} ${direction} is offloaded`, offloaded, direction === "out");
    },
  }),
];
