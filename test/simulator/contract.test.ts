import { deepStrictEqual, strictEqual } from "node:assert";
import test from "ava";
import fc from "fast-check";
import { chooseBackend } from "../../src/esp/aead.js";
import { FEATURES, type FeatureName, type OffloadState } from "../../src/esp/offload/contract.js";
import { OffloadCounters } from "../../src/esp/offload/counters.js";
import { InboundOffload, RECEIVED } from "../../src/esp/offload/receive.js";
import type { OffloadedState, Verdict } from "../../src/esp/offload/stack.js";
import { OffloadStack } from "../../src/esp/offload/stack.js";
import { OutboundOffload } from "../../src/esp/offload/transmit.js";
import { ESP_IV, paddingFor, writeTrailer } from "../../src/esp/packet.js";
import { Counters, XFRM_STATS } from "../../src/esp/statistics.js";
import { SimulatedBond } from "../../src/simulator/bond.js";
import { contextSpec, createDevice, type SimulatedDevice } from "../../src/simulator/device.js";
import { FAULT_STATUS, type FaultName } from "../../src/simulator/faults.js";
import { type ContextSpec, createHardware } from "../../src/simulator/hardware.js";
import { SimulatedNic } from "../../src/simulator/nic.js";
import { type Profile, parseProfile } from "../../src/simulator/profile.js";
import { PacketSlab } from "../../src/sys/packet-slab.js";
import { type Fate, type Limits, Model, type ModelSa } from "./contract-model.js";
import { offloadState } from "./states.js";

const RUNS = 50_000;
const LENGTH = 16;

const FULL = parseProfile(
  `
name: full
source: include/linux/netdevice.h
features: [esp-hw-offload, esp-tx-csum-hw-offload, tx-esp-segmentation]
operations: [state_add, state_delete, state_free, offload_ok, advance_esn, update_stats, policy_add, policy_delete, policy_free]
slots: {shared: 3}
release: free
trailer: {transmit: device, receive: device}
checks: [{property: mode, allowed: [transport, tunnel], errno: EINVAL, reason: mode}]
policies: [{property: reqid, forbidden: [0], errno: EINVAL, reason: reqid}]
full: {shared: {errno: ENOSPC, reason: full}}
`,
  "full",
);
const PLAIN = parseProfile(
  `
name: plain
source: include/linux/netdevice.h
features: [esp-hw-offload]
operations: [state_add, state_delete]
slots: {in: 2, out: 2}
addresses: 1
checks: [{property: mode, allowed: [transport], errno: EINVAL, reason: mode}]
keys: [{property: suite, allowed: [aes128-gcm], errno: EINVAL, reason: suite}]
full: {in: {errno: ENOSPC, reason: in}, out: {errno: ENOSPC, reason: out}, addresses: {errno: ENOSPC, reason: address}}
`,
  "plain",
);
const bondOf = (first: Profile, second: Profile): Profile => ({
  ...first,
  bonded: true,
  ports: [first.ports[0], second.ports[0]],
});
const FULL_LIMITS: Limits = {
  slots: { shared: 3 },
  addresses: 0,
  freesLate: true,
  packetMode: true,
  esn: true,
  modes: ["transport", "tunnel"],
  suites: ["aes128-gcm", "aes256-gcm"],
  features: Object.keys(FEATURES) as FeatureName[],
};
const PLAIN_LIMITS: Limits = {
  slots: { in: 2, out: 2 },
  addresses: 1,
  freesLate: false,
  packetMode: false,
  esn: false,
  modes: ["transport"],
  suites: ["aes128-gcm"],
  features: ["esp-hw-offload"],
};
const DEVICES = {
  full: [FULL, [FULL_LIMITS]],
  plain: [PLAIN, [PLAIN_LIMITS]],
  "bond of full and plain": [bondOf(FULL, PLAIN), [FULL_LIMITS, PLAIN_LIMITS]],
  "bond of plain and full": [bondOf(PLAIN, FULL), [PLAIN_LIMITS, FULL_LIMITS]],
} as const satisfies Record<string, readonly [Profile, readonly Limits[]]>;

/** One key for all: what is looked at is who uses it. */
const slab = new PacketSlab(65536);
const [SOURCE, PACKET] = [1024, 4096];
const TEXT = PACKET + ESP_IV + 8;
const INNER = 40;
const backend = chooseBackend("auto");
const cipher = { suite: "aes128-gcm", esn: false, keymat: Buffer.alloc(20, 7) } as const;
const software = { sealer: backend.sealer(slab, cipher), opener: backend.opener(slab, cipher) };
const RX_FAULTS = [...(Object.keys(FAULT_STATUS) as FaultName[]), "lookup-miss", "stale-secpath"] as const;
const TX_FAULTS = ["wrong-device"] as const;
const hardwareOf = (faults: readonly FaultName[]) =>
  createHardware({ completion: null, faults, seed: 1, oneIn: 1 });
const HARDWARE = new Map<FaultName | null, ReturnType<typeof hardwareOf>>([
  [null, hardwareOf([])],
  ...[...RX_FAULTS, ...TX_FAULTS].map((fault) => [fault, hardwareOf([fault])] as const),
]);

/** Writes an inner packet with its trailer. @returns bytes to be encrypted */
function writeInner(): number {
  slab.bytes.fill(0x45, SOURCE, SOURCE + INNER);
  return INNER + writeTrailer(slab.bytes, SOURCE + INNER, paddingFor(INNER, 4), 4);
}

/** The devices at work, beside the model's SAs in the same order. */
class Real {
  readonly profile: Profile;
  readonly stack = new OffloadStack();
  readonly device: SimulatedDevice;
  readonly counters = new Counters();
  readonly sas: { offload: OffloadedState; context: ContextSpec; counted: OffloadCounters }[] = [];

  constructor(profile: Profile) {
    this.profile = profile;
    this.device = createDevice("sim0", profile);
  }

  get ports(): readonly SimulatedNic[] {
    return this.device instanceof SimulatedBond ? this.device.ports : [this.device as SimulatedNic];
  }

  add(state: OffloadState): Verdict {
    const verdict = this.stack.add(state, this.device);
    if (verdict.kind === "offloaded") {
      const { offload } = verdict;
      const context = contextSpec(this.device, this.profile, offload.handle, state.direction);
      this.sas.push({ offload, context, counted: new OffloadCounters() });
    }
    return verdict;
  }

  send(index: number, fault: FaultName | null, low: number, segments: number): Fate[] {
    const { offload, context, counted } = this.sas[index] as Real["sas"][number];
    const device = HARDWARE.get(fault)?.tx(context, slab, software.sealer);
    if (device === undefined) throw new Error(`no hardware with ${fault}`);
    const { type } = offload.state;
    const out = new OutboundOffload(slab, software.sealer, device, type, counted, this.counters);
    if (segments > 1) out.startBurst(low, segments);
    return Array.from({ length: segments }, () =>
      this.#fate(counted, () => {
        const length = writeInner();
        const text = slab.bytes.slice(SOURCE, SOURCE + length);
        const sealer = out.sealerFor(SOURCE);
        if (sealer === null) return false;
        strictEqual(sealer.seal(PACKET, 0, SOURCE, length), true);
        strictEqual(software.opener.open(PACKET, 0, length), true);
        deepStrictEqual(slab.bytes.slice(TEXT, TEXT + length), text);
        return true;
      }),
    );
  }

  receive(index: number, fault: FaultName | null): Fate {
    const { context, counted } = this.sas[index] as Real["sas"][number];
    const device = HARDWARE.get(fault)?.rx(context, slab, software.opener);
    if (device === undefined) throw new Error(`no hardware with ${fault}`);
    const inbound = new InboundOffload(device, counted, this.counters);
    return this.#fate(counted, () => {
      const length = writeInner();
      software.sealer.seal(PACKET, 0, SOURCE, length);
      const received = inbound.receive(PACKET, 0, TEXT, length);
      if (received === RECEIVED.BARE) deepStrictEqual([inbound.size, inbound.nextHeader], [INNER, 4]);
      return received !== RECEIVED.DROP;
    });
  }

  /** What went up while a packet was worked on. */
  #fate(counted: OffloadCounters, work: () => boolean): Fate {
    const read = () => XFRM_STATS.map((name) => this.counters.get(name));
    const [before, hardware, drops] = [read(), counted.hardware, counted.drops];
    const passed = work();
    const raised = XFRM_STATS.filter((_, index) => read()[index] !== before[index]);
    if (!passed) {
      strictEqual(counted.drops, drops + 1);
      return { drop: raised.join() };
    }
    deepStrictEqual(raised, []);
    return counted.hardware > hardware ? "hardware" : "software";
  }
}

/** After every command: no slot and no reference more or less than the model has. */
function compare(model: Model, real: Real): void {
  strictEqual(real.device.references, model.references);
  strictEqual(real.stack.states.size, model.installed.length);
  strictEqual(
    real.device.features,
    [...model.features].reduce((sum, feature) => sum | FEATURES[feature], 0),
  );
  let policies = 0;
  for (const [index, port] of real.ports.entries()) {
    const { policies: there, ...used } = port.used;
    deepStrictEqual(used, model.used(index));
    policies += there;
  }
  strictEqual(policies, model.policies);
  for (const [index, sa] of model.sas.entries()) {
    const { counted, offload } = real.sas[index] as Real["sas"][number];
    const { hardware, software, drops, bursts } = counted;
    deepStrictEqual([hardware, software, drops, bursts], [sa.hardware, sa.software, sa.drops, sa.bursts]);
    if (sa.deleted) continue;
    strictEqual(real.device.memoryOf(offload.handle).esnHigh, sa.esnHigh);
  }
}

type Command = fc.Command<Model, Real>;
const command = (text: string, run: (model: Model, real: Real) => void): Command => ({
  check: () => true,
  run(model, real) {
    run(model, real);
    compare(model, real);
  },
  toString: () => text,
});

/** Of an SA, counted round the list of those that `of` finds; nothing where it finds none. */
const ofSa = (
  name: string,
  pick: number,
  of: (model: Model) => ModelSa[],
  run: (model: Model, real: Real, sa: ModelSa, index: number) => void,
): Command =>
  command(`${name} #${pick}`, (model, real) => {
    const list = of(model);
    const sa = list[pick % list.length];
    if (sa !== undefined) run(model, real, sa, model.sas.indexOf(sa));
  });

const kill = (real: Real, { handle }: OffloadedState): void => {
  real.device.memoryOf(handle).alive = false;
};

function count(sa: ModelSa, fate: Fate): void {
  if (fate === "hardware") sa.hardware++;
  else if (fate === "software") sa.software++;
  else sa.drops++;
}

const directed = (direction: "in" | "out") => (model: Model) =>
  model.sas.filter(({ state }) => state.direction === direction);
const pick = fc.nat(7);

const ADD: fc.Arbitrary<Command> = fc
  .record({
    direction: fc.constantFrom("in", "out"),
    type: fc.constantFrom("crypto", "crypto", "packet"),
    mode: fc.constantFrom("transport", "transport", "tunnel", "beet"),
    suite: fc.constantFrom("aes128-gcm", "aes128-gcm", "aes256-gcm"),
    esn: fc.boolean(),
    reqid: fc.constantFrom(1, 1, 0),
    destination: fc.constantFrom("198.51.100.1", "198.51.100.2"),
  } as const)
  .map((change) =>
    command(`add ${JSON.stringify(change)}`, (model, real) => {
      const state = offloadState(change);
      const verdict = real.add(state);
      strictEqual(verdict.kind === "refused" ? verdict.errno : verdict.kind, model.add(state));
    }),
  );

const COMMANDS: readonly fc.Arbitrary<Command>[] = [
  // As often as what takes one away.
  ADD,
  ADD,
  fc.tuple(pick, fc.boolean()).map(([which, held]) =>
    ofSa(
      held ? "delete, held" : "delete",
      which,
      ({ installed }) => installed,
      (model, real, sa, index) => {
        const { offload } = real.sas[index] as Real["sas"][number];
        kill(real, offload);
        real.stack.remove(offload);
        model.delete(sa);
        if (held) return;
        real.stack.free(offload);
        model.free(sa);
      },
    ),
  ),
  pick.map((which) =>
    ofSa(
      "free",
      which,
      ({ sas }) => sas.filter(({ deleted, freed }) => deleted && !freed),
      (model, real, sa, index) => {
        real.stack.free((real.sas[index] as Real["sas"][number]).offload);
        model.free(sa);
      },
    ),
  ),
  fc.constantFrom(...(Object.keys(FEATURES) as FeatureName[])).map((feature) =>
    command(`toggle ${feature}`, (model, { device }) => {
      if (!(device instanceof SimulatedNic)) return;
      let taken = true;
      try {
        device.setFeature(feature, !model.features.has(feature));
      } catch {
        taken = false;
      }
      strictEqual(taken, model.toggle(feature));
    }),
  ),
  fc.constantFrom(null, "add-eopnotsupp", "add-einval", "table-full").map((fault) =>
    command(`fault ${fault}`, (model, { device }) => {
      for (const each of ["add-eopnotsupp", "add-einval", "table-full"] as const) device.faults.delete(each);
      if (fault !== null) device.faults.add(fault as FaultName);
      model.fault = fault as FaultName | null;
    }),
  ),
  fc.constant(
    command("down or up", (model, real) => {
      const { device, stack } = real;
      if (!model.up) {
        device.setUp(true);
        model.up = true;
        return;
      }
      device.setUp(false);
      for (const each of stack.states) kill(real, each);
      stack.flush(device);
      model.down();
    }),
  ),
  fc.constant(
    command("failover", (model, { device }) => {
      if (!(device instanceof SimulatedBond)) return;
      device.failover();
      model.failover();
    }),
  ),
  fc
    .tuple(pick, fc.constantFrom(null, null, ...TX_FAULTS), fc.boolean(), fc.integer({ min: 1, max: 3 }))
    .map(([which, fault, nearWrap, segments]) =>
      ofSa(`send ${segments}, ${fault}, ${nearWrap}`, which, directed("out"), (model, real, sa, index) => {
        const low = nearWrap ? 2 ** 32 - 2 : 0;
        const wraps = nearWrap && segments > 1;
        const fates = real.send(index, fault, low, segments);
        const expected = model.send(sa, fault !== null, wraps);
        deepStrictEqual(
          fates,
          fates.map(() => expected),
        );
        for (const fate of fates) count(sa, fate);
        if (segments > 1 && expected === "hardware" && model.cuts(sa, wraps)) sa.bursts++;
      }),
    ),
  fc.tuple(pick, fc.constantFrom(null, null, null, ...RX_FAULTS)).map(([which, fault]) =>
    ofSa(`receive, ${fault}`, which, directed("in"), (model, real, sa, index) => {
      const expected = model.receive(sa, fault);
      deepStrictEqual(real.receive(index, fault), expected);
      count(sa, expected);
    }),
  ),
  fc.tuple(pick, fc.nat(9)).map(([which, high]) =>
    ofSa(
      `advance_esn ${high}`,
      which,
      ({ installed }) => installed.filter(({ port }) => port !== null),
      (_model, real, sa, index) => {
        const { offload } = real.sas[index] as Real["sas"][number];
        real.stack.advanceEsn(offload, high);
        if (offload.ops.operations.has("advance_esn")) sa.esnHigh = high;
      },
    ),
  ),
];

test(`${RUNS} random sequences of what can be done with a device leave it as the model says, and nothing behind`, (t) => {
  t.timeout(1_200_000);
  let commands = 0;
  const names = fc.constantFrom(...(Object.keys(DEVICES) as (keyof typeof DEVICES)[]));
  const lists = fc.commands([...COMMANDS], { maxCommands: LENGTH, size: "medium" });
  fc.assert(
    fc.property(names, lists, (name, list) => {
      const [profile, limits] = DEVICES[name];
      const [model, real] = [new Model(limits), new Real(profile)];
      fc.modelRun(() => ({ model, real }), list);
      for (const _ of list) commands++;
      for (const [index, sa] of model.sas.entries()) {
        const { offload } = real.sas[index] as Real["sas"][number];
        real.stack.remove(offload);
        real.stack.free(offload);
        model.delete(sa);
        model.free(sa);
      }
      compare(model, real);
      strictEqual(real.device.references, 0);
    }),
    { numRuns: RUNS },
  );
  t.log(`${RUNS} sequences of ${commands} commands`);
  t.true(commands > RUNS);
});
