/**
 * The classifier and nftables on the receive side of a veth pair, each with the same subnets or flows as connections:
 *
 *   send (BPF test run) -> v0 ==== veth ==== v1 -> clsact or tcx | nftables' ingress hook -> dropped
 *
 * Each marks a packet with its connection's if_id and drops it. A packet's whole way is timed; what the rules add is the
 * difference to the same with one of them. Noise is tens of ns, as the way to the hook alone takes a microsecond.
 */
import { spawnSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { attachTc, BpfObject, type TcLink } from "libbpf-ts";
import { openClassifier } from "../backends/classifier.js";
import { compile } from "../compiler/compile.js";
import type { Policy } from "../config/policy.js";
import { ip, ipJson } from "../sys/ip.js";
import { inNetns } from "../sys/netns.js";
import { bpfObjectPath } from "../sys/paths.js";
import { BENCH_DEVICES } from "./cases.js";
import type { Keys } from "./keys.js";

export type VethSubject = "xfrm-steer" | "nftables";

const ETHERNET = 14;
/** An Ethernet header, IPv4 and 8 bytes of ports and what follows them. */
const PACKET_BYTES = ETHERNET + 28;
const ETH_P_IP = 0x0800;
const WORDS = 4;
const TABLE = "netdev bench";

/** The system's folders first: npm puts packages' programs in front, and one of them is called nft as well. */
const env = { ...process.env, PATH: `/usr/sbin:/sbin:/usr/bin:/bin:${process.env.PATH}` };

/** Whether nftables' `nft` is there. */
export function hasNftables(): boolean {
  const { stdout } = spawnSync("nft", ["--version"], { encoding: "utf8", env });
  return (stdout ?? "").startsWith("nftables");
}

/** One way to classify at the end of a veth pair in a namespace of its own, which goes with close(). */
export class VethPeer {
  /** ms to make its tables and load them, the namespace not counted. */
  readonly buildMs: number;
  readonly #netns = `xs-veth-${randomBytes(3).toString("hex")}`;
  readonly #name: VethSubject;
  readonly #sender: BpfObject;
  #classifier: BpfObject | null = null;
  #link: TcLink | null = null;

  /** @param keys IPv4 keys, a power of two of them */
  constructor(name: VethSubject, policy: Policy, keys: Keys) {
    this.#name = name;
    this.#sender = BpfObject.open(bpfObjectPath("bench_send"));
    try {
      ip("netns", "add", this.#netns);
      ip("-n", this.#netns, "link", "add", "v0", "type", "veth", "peer", "name", "v1");
      for (const device of ["v0", "v1"]) ip("-n", this.#netns, "link", "set", device, "up");
      inNetns(this.#netns, () => this.#prepareSender(keys));
      const started = performance.now();
      if (name === "nftables") this.#nft(ruleset(policy));
      else inNetns(this.#netns, () => this.#attachClassifier(policy));
      this.buildMs = performance.now() - started;
    } catch (error) {
      this.close();
      throw error;
    }
  }

  /** Sends packets with the next keys; ns a packet. */
  run(count: number): number {
    const data = new Uint8Array(PACKET_BYTES);
    const view = new DataView(data.buffer);
    view.setUint16(12, ETH_P_IP);
    view.setUint8(ETHERNET, 0x45);
    view.setUint16(ETHERNET + 2, PACKET_BYTES - ETHERNET);
    view.setUint8(ETHERNET + 8, 64);
    return inNetns(this.#netns, () => this.#sender.program("send").testRun({ data, repeat: count }).duration);
  }

  /** Packets so far that belonged to a connection. */
  steered(): bigint {
    if (this.#classifier) return this.#classifier.bss.get("steered") as bigint;
    const [, packets] =
      /counter packets (\d+)/.exec(this.#nft("", ["list", "table", ...TABLE.split(" ")])) ?? [];
    return BigInt(packets ?? 0);
  }

  close(): void {
    this.#link?.close();
    this.#classifier?.close();
    this.#sender.close();
    spawnSync("ip", ["netns", "del", this.#netns]);
  }

  #prepareSender({ count, words, stride }: Keys): void {
    const packets = new Uint32Array(WORDS * count);
    const view = new DataView(packets.buffer);
    for (let i = 0; i < count; i++) {
      // src, dst and ports in network byte order; the protocol in the host's.
      for (let w = 0; w < 3; w++) view.setUint32(4 * (WORDS * i + w), words[i * stride + w] as number);
      packets[WORDS * i + 3] = words[i * stride + 3] as number;
    }
    this.#sender.map("packets").setMaxEntries(count);
    this.#sender.rodata.set("device", ifindexOf("v0"));
    this.#sender.rodata.set("last", count - 1);
    this.#sender.load();
    const keys = Uint32Array.from({ length: count }, (_, i) => i);
    this.#sender.map("packets").updateBatch(keys, packets);
  }

  #attachClassifier(policy: Policy): void {
    const generation = compile(policy, BENCH_DEVICES);
    this.#classifier = openClassifier(bpfObjectPath("bench_steer"), generation);
    this.#classifier.rodata.set("l3_offset", ETHERNET);
    this.#classifier.load();
    this.#link = attachTc({
      ifindex: ifindexOf("v1"),
      direction: "ingress",
      program: this.#classifier.program("mark_and_drop"),
    });
  }

  #nft(input: string, args = ["-f", "-"]): string {
    const { status, stdout, stderr } = spawnSync("ip", ["netns", "exec", this.#netns, "nft", ...args], {
      input,
      encoding: "utf8",
      env,
      maxBuffer: 2 ** 30,
    });
    if (status !== 0) throw new Error(`${this.#name}: nft ${args.join(" ")}: ${stderr}`);
    return stdout;
  }
}

function ifindexOf(device: string): number {
  return ipJson<{ ifindex: number }>("link", "show", "dev", device)[0]?.ifindex ?? 0;
}

/** nftables' own recommendation for either: an interval map of subnets, a concatenation of a flow's five fields. */
function ruleset({ flows, connections }: Policy): string {
  const { subnets4, exact4 } = flows;
  const dotted = (word: number) => [24, 16, 8, 0].map((shift) => (word >>> shift) & 255).join(".");
  const ifId = (connection: number) => connections[connection]?.ifId;
  const prefixes = subnets4.length.length > 0;
  const elements = prefixes
    ? Array.from(
        subnets4.length,
        (bits, i) =>
          `${dotted(subnets4.words[i] as number)}/${bits} : ${ifId(subnets4.connection[i] as number)}`,
      )
    : Array.from(exact4.proto, (proto, i) => {
        const ports = exact4.ports[i] as number;
        const addresses = `${dotted(exact4.src[i] as number)} . ${dotted(exact4.dst[i] as number)}`;
        const of = ifId(exact4.connection[i] as number);
        return `${addresses} . ${proto} . ${ports >>> 16} . ${ports & 0xffff} : ${of}`;
      });
  const type = prefixes
    ? "ipv4_addr : mark; flags interval"
    : "ipv4_addr . ipv4_addr . inet_proto . inet_service . inet_service : mark";
  const key = prefixes ? "ip daddr" : "ip saddr . ip daddr . meta l4proto . th sport . th dport";
  return `table ${TABLE} {
  map connections { type ${type}; elements = { ${elements.join(", ")} } }
  chain ingress {
    type filter hook ingress device "v1" priority 0; policy drop;
    meta mark set ${key} map @connections counter drop
  }
}`;
}
