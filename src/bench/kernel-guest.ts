import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { deserialize } from "node:v8";
import { BpfObject, type BpfProgram } from "libbpf-ts";
import { loadRules } from "../backends/classifier.js";
import type { Generation } from "../compiler/compile.js";
import { bpfObjectPath } from "../sys/paths.js";
import type { KernelCase } from "./kernel.js";
import { Gateway, packetTo } from "./kernel-gateway.js";
import { ifIdOf, subnet } from "./kernel-policy.js";
import { type BenchCase, type BenchResult, machine, median, summarise } from "./measure.js";

/** What the host asks of the guest; sizes in rising order. */
export interface GuestPlan {
  readonly cases: readonly KernelCase[];
  readonly sizes: readonly number[];
  readonly interfaces: readonly number[];
  readonly runs: number;
}

/** Lines on standard output. */
export type GuestReport = BenchCase | { progress: string } | { machine: BenchResult["machine"] };

const UNIT = "instructions/packet";
/** Bytes of an Ethernet header: what a test run puts in front of the packet. */
const ETHERNET = 14;
const STEER_PACKETS = 101;
const CLOCK_RUNS = 1000;

const path = process.argv[2] as string;
const plan = JSON.parse(readFileSync(path, "utf8")) as GuestPlan;
const say = (report: GuestReport) => process.stdout.write(`${JSON.stringify(report)}\n`);

function generationOf(size: number): Generation {
  return deserialize(readFileSync(join(dirname(path), `${size}.generation`))) as Generation;
}

/** Indexes of subnets to send to, spread over all; `step` keeps to the connections whose number it divides. */
function destinations(size: number, count: number, step = 1): number[] {
  const all = Math.ceil(size / step);
  return Array.from({ length: Math.min(all, count) }, (_, i) => Math.floor((i * all) / count) * step);
}

/** A program is run once a packet: metadata is set but once. Durations are in ns, which are instructions here. */
function steerCost(program: BpfProgram, size: number): number[] {
  const packets = destinations(size, STEER_PACKETS).map((k) => packetTo(subnet(k) + 1));
  const once = (data: Buffer) => program.testRun({ data, repeat: 1 }).duration;
  once(packets[0] as Buffer);
  return Array.from({ length: STEER_PACKETS }, (_, i) => once(packets[i % packets.length] as Buffer));
}

/** The clock has to count instructions: a program with a thousand more of them takes a thousand ns more. */
function checkClock(object: BpfObject): void {
  const [less, more] = ["empty", "thousand"].map((name) => {
    const program = object.program(name);
    return program.testRun({ data: packetTo(subnet(0)), repeat: CLOCK_RUNS }).duration;
  }) as [number, number];
  if (Math.abs(more - less - 1000) > 20)
    throw new Error(
      `a thousand instructions take ${more - less} ns: the VM's clock does not count instructions`,
    );
}

function benchSteer(object: BpfObject): void {
  const base = median(steerCost(object.program("empty"), 1));
  const report = (subject: string, size: number, costs: number[], extra = {}) =>
    say({
      ...{ case: "steer", size, subject, unit: UNIT },
      ...{ ...summarise(costs.map((cost) => cost - base)), extra },
    });
  report("empty", 0, steerCost(object.program("empty"), 1), { measured: base });
  report("fixed", 0, steerCost(object.program("fixed"), 1));
  for (const size of plan.sizes) {
    say({ progress: `the program of ${size} subnets alone` });
    using ours = loadRules("xfrm", generationOf(size), { l3Offset: ETHERNET });
    const tables = [...ours.maps.values()].reduce(
      (sum, { shape }) => sum + shape.valueSize * shape.maxEntries,
      0,
    );
    report("xfrm-steer", size, steerCost(ours.program("xfrm_egress"), size), { table_bytes: tables });
  }
}

function benchPath(object: BpfObject, gateway: Gateway): void {
  const measure = (subject: string, size: number, extra = {}) => {
    // Of the connections, number 1 has an SA.
    const packets = destinations(size || 1, plan.runs, ifIdOfFirst(subject)).map((k) =>
      packetTo(subnet(k) + 1, gateway.mac),
    );
    const costs = Array.from({ length: plan.runs }, (_, i) =>
      gateway.cost(packets[i % packets.length] as Buffer),
    );
    say({ ...{ case: "path", size, subject, unit: UNIT }, ...{ ...summarise(costs), extra } });
  };
  gateway.routeAll();
  gateway.disableXfrm(true);
  gateway.steer(object.program("fixed"));
  measure("fixed", 0);
  for (const size of plan.sizes) {
    say({ progress: `path through ${size} subnets` });
    const ours = loadRules("xfrm", generationOf(size));
    gateway.steer(ours.program("xfrm_egress"));
    measure("xfrm-steer", size);
    ours.close();
  }
  gateway.steer(null);
  gateway.disableXfrm(false);
  gateway.routeNone();

  for (const size of plan.sizes) {
    gateway.setRoutes(size, ifIdOf, (made) => say({ progress: `path through ${size} routes: ${made} made` }));
    measure("lwt", size);
    gateway.disableXfrm(true);
    measure("lwt/disable_xfrm", size);
    gateway.disableXfrm(false);
    if (size !== 1) continue;
    gateway.steer(object.program("empty"));
    measure("empty", 0);
    gateway.steer(null);
  }
  gateway.setRoutes(0, ifIdOf);

  // Last, as it takes longer to remove many of them than to end the VM.
  let made = 0;
  for (const size of plan.interfaces) {
    say({ progress: `path through ${size} interfaces` });
    const cost = gateway.addInterfaces(made, size);
    made = size;
    measure("per-interface", size, cost);
  }
}

/** Every how many subnets the first connection owns one; interfaces have one each. */
function ifIdOfFirst(subject: string): number {
  return subject === "per-interface" ? Number.MAX_SAFE_INTEGER : 1000;
}

say({ machine: machine() });
const gateway = new Gateway();
using object = BpfObject.open(bpfObjectPath("bench_kernel"));
object.rodata.set("lan_ifindex", gateway.lanIfindex);
object.load();
gateway.use(object);
checkClock(object);
if (plan.cases.includes("steer")) benchSteer(object);
if (plan.cases.includes("path")) benchPath(object, gateway);
