import { randomBytes } from "node:crypto";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { inspect, isDeepStrictEqual } from "node:util";
import { Capture, LINKTYPE_ETHERNET, pcapFile } from "./capture.js";
import { counterDelta } from "./counters.js";
import type { KtapWriter } from "./ktap.js";
import { Namespace } from "./namespace.js";
import { PATIENCE_MS } from "./patience.js";
import type { ScenarioContext, VethEnd } from "./scenario.js";
import { Steering } from "./steering/steering.js";

/** An expectation that was not met. */
export class ExpectationError extends Error {
  constructor(what: string, seen: unknown, expected: unknown) {
    const show = (value: unknown) => inspect(value, { depth: 6, breakLength: 100, sorted: true });
    super(`${what}\nexpected: ${show(expected)}\nseen:     ${show(seen)}`);
    this.name = "ExpectationError";
  }
}

const POLL_MS = 20;
/** SAs of one namespace that a failure's report lists: those with the most packets. */
const SHOWN_SAS = 20;

/** The context of one scenario's run. */
export class Context implements ScenarioContext {
  private readonly namespaces = new Map<string, Namespace>();
  private readonly captures: Capture[] = [];
  private readonly steerings = new Map<Namespace, Steering>();
  /** Namespaces of scenarios that run at the same time, in whatever process, or that a killed one left, share no names. */
  private readonly prefix = `xs-${randomBytes(4).toString("hex")}-`;
  private readonly report: KtapWriter;
  private steps: KtapWriter | undefined;
  /** Its result is reported: a run that was too slow may still go on for a while. */
  private ended = false;

  constructor(report: KtapWriter) {
    this.report = report;
  }

  ns(name: string): Namespace {
    let namespace = this.namespaces.get(name);
    if (!namespace) {
      namespace = new Namespace(name, `${this.prefix}${name}`);
      this.namespaces.set(name, namespace);
    }
    return namespace;
  }

  async veth(a: VethEnd, b: VethEnd): Promise<void> {
    await a.ns.ip(`link add ${a.device} type veth peer name ${b.device} netns ${b.ns.handle}`);
    for (const end of [a, b]) {
      // nodad: duplicate address detection would keep an IPv6 address unusable for a second.
      const addresses = (end.addresses ?? []).map((address) => {
        const nodad = address.includes(":") ? " nodad" : "";
        return `addr add ${address} dev ${end.device}${nodad}`;
      });
      await end.ns.ip([...addresses, `link set ${end.device} up`].join("\n"));
    }
    // The kernel tells IPv6 of the carrier a little later; until then it drops what is sent.
    for (const end of [a, b]) {
      await this.eventually(
        `${end.device} of ${end.ns.name} up`,
        async () => (await end.ns.ip(`addr show dev ${end.device}`)).match(/state (\w+)/)?.[1],
        "UP",
      );
    }
  }

  steer(namespace: Namespace): Steering {
    let steering = this.steerings.get(namespace);
    if (!steering) {
      steering = new Steering(namespace);
      this.steerings.set(namespace, steering);
    }
    return steering;
  }

  capture(namespace: Namespace, device: string): Capture {
    const capture = new Capture(namespace, device);
    this.captures.push(capture);
    return capture;
  }

  expect(what: string, seen: unknown, expected: unknown): void {
    if (!isDeepStrictEqual(seen, expected)) throw new ExpectationError(what, seen, expected);
  }

  async eventually(
    what: string,
    read: () => Promise<unknown>,
    expected: unknown,
    limitMs = PATIENCE_MS,
  ): Promise<void> {
    const end = Date.now() + limitMs;
    for (;;) {
      const seen = await read();
      if (isDeepStrictEqual(seen, expected)) return;
      if (Date.now() > end) throw new ExpectationError(`${what}, within ${limitMs} ms`, seen, expected);
      await delay(POLL_MS);
    }
  }

  async step(name: string, run: () => Promise<void>): Promise<void> {
    this.steps ??= this.report.subtests();
    try {
      await run();
    } catch (error) {
      if (!this.ended) this.steps.result(false, name);
      throw error;
    }
    if (!this.ended) this.steps.result(true, name);
  }

  note(text: string): void {
    this.report.diagnostic(text);
  }

  /** What every namespace counted, for a failure's report: SAs, xfrm_stat and devices that saw errors. */
  async counters(): Promise<string> {
    const lines: string[] = [];
    for (const namespace of this.namespaces.values()) {
      lines.push(`counters of ${namespace.name}:`);
      const sas = await namespace.sas();
      const shown = sas.toSorted((a, b) => b.packets - a.packets).slice(0, SHOWN_SAS);
      for (const sa of shown) {
        const { src, dst, spi, ifId, mode, packets, bytes, integrityErrors, replayErrors } = sa;
        lines.push(
          `  SA ${src} > ${dst} spi 0x${spi.toString(16)} if_id ${ifId} ${mode}: ${packets} packets, ${bytes} bytes, ` +
            `${integrityErrors} integrity and ${replayErrors} replay errors`,
        );
      }
      if (sas.length > shown.length)
        lines.push(`  ${sas.length - shown.length} more SAs, with fewer packets`);
      const xfrm = Object.entries(counterDelta({}, namespace.xfrmStat()));
      if (xfrm.length > 0)
        lines.push(`  xfrm_stat: ${xfrm.map(([name, value]) => `${name} ${value}`).join(", ")}`);
      for (const [device, link] of await namespace.links()) {
        const counted = Object.entries(link).filter(([, value]) => value !== 0);
        if (device !== "lo" && counted.length > 0) {
          lines.push(`  ${device}: ${counted.map(([name, value]) => `${name} ${value}`).join(", ")}`);
        }
      }
    }
    return lines.join("\n");
  }

  /** Keeps the captures as DIRECTORY/SCENARIO-NAMESPACE-DEVICE.pcap. */
  saveCaptures(directory: string, scenarioName: string): void {
    mkdirSync(directory, { recursive: true });
    for (const capture of this.captures) {
      const path = join(directory, `${scenarioName}-${capture.name}.pcap`);
      writeFileSync(path, pcapFile(capture.frames(), LINKTYPE_ETHERNET));
    }
  }

  /** Removes all that the run made. Goes on after a failure, and throws the first one at the end. */
  async cleanUp(): Promise<void> {
    const failures: unknown[] = [];
    this.ended = true;
    for (const capture of this.captures) capture.close();
    for (const steering of this.steerings.values()) {
      await steering.unload().catch((error) => failures.push(error));
    }
    for (const namespace of this.namespaces.values()) {
      await namespace.remove().catch((error) => failures.push(error));
    }
    if (failures.length > 0) throw failures[0];
  }
}
