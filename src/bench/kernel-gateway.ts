import { randomBytes } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { attachTc, type BpfObject, type BpfProgram, type TcLink } from "libbpf-ts";
import { findIfindex } from "../sys/ifindex.js";
import { ip, ipBatch, ipJson } from "../sys/ip.js";
import { inNetns } from "../sys/netns.js";
import { subnet } from "./kernel-policy.js";

/**
 * The way of a packet from the LAN through the tunnel, on the VM's one CPU:
 *
 *            hub                                  peer
 *     lan0 10.5.0.1                        ipsec0 (if_id 11), sink
 *     ipsec0 (external)
 *     172.16.1.100 v01 ================= v10 172.16.1.200
 */
const HUB = "bench-hub";
const PEER = "bench-peer";
const [NEAR, FAR] = ["172.16.1.100", "172.16.1.200"];
/** Packets of a short run and of a long one: the more apart, the less a timer interrupt in one of them counts. */
const [FEW, MANY] = [250, 2250];
const PACKET_BYTES = 512;
const ETHERNET = 14;
/** What each route's next hop took is freed by RCU, which a million in one go leave no time for: the VM ran out of memory. */
const ROUTES_AT_ONCE = 50_000;
const SOURCE = 0x0a050002; // 10.5.0.2, of lan0's network

/** An IPv4 UDP packet behind an Ethernet header. @param destination address in host byte order @param mac 12 hex digits */
export function packetTo(destination: number, mac = "020000000001"): Buffer {
  const frame = Buffer.alloc(ETHERNET + PACKET_BYTES);
  frame.write(mac, "hex");
  frame[6] = 2; // locally administered
  frame.writeUInt16BE(0x0800, 12);
  const packet = frame.subarray(ETHERNET);
  packet[0] = 0x45;
  packet.writeUInt16BE(PACKET_BYTES, 2);
  packet[8] = 64;
  packet[9] = 17;
  packet.writeUInt32BE(SOURCE, 12);
  packet.writeUInt32BE(destination, 16);
  let sum = 0;
  for (let at = 0; at < 20; at += 2) sum += packet.readUInt16BE(at);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  packet.writeUInt16BE(~sum & 0xffff, 10);
  packet.writeUInt16BE(5000, 20);
  packet.writeUInt16BE(9, 22);
  packet.writeUInt16BE(PACKET_BYTES - 20, 24);
  return frame;
}

const address = (word: number) => [24, 16, 8, 0].map((shift) => (word >>> shift) & 255).join(".");

/** The two namespaces; they live as long as the VM. */
export class Gateway {
  readonly lanIfindex: number;
  /** Of lan0: 12 hex digits. */
  readonly mac: string;
  #object: BpfObject | null = null;
  #steering: TcLink | null = null;

  constructor() {
    for (const name of [HUB, PEER]) ip("netns", "add", name);
    ip("link", "add", "v01", "netns", HUB, "type", "veth", "peer", "name", "v10", "netns", PEER);
    writeFileSync("/proc/sys/net/core/netdev_max_backlog", "100000");
    const key = `aead rfc4106(gcm(aes)) 0x${randomBytes(20).toString("hex")} 128`;
    const state = (ifId: number) =>
      `xfrm state add src ${NEAR} dst ${FAR} proto esp spi 0x1001 reqid 1 mode tunnel if_id ${ifId} ${key}`;
    const policy = (dir: string, ifId: number) =>
      `xfrm policy add dir ${dir} src 0.0.0.0/0 dst 0.0.0.0/0 if_id ${ifId} ` +
      `tmpl src ${NEAR} dst ${FAR} proto esp reqid 1 mode tunnel`;
    inNetns(PEER, () =>
      ipBatch([
        ...["link set lo up", `addr add ${FAR}/24 dev v10`, "link set v10 up"],
        ...["link add ipsec0 type xfrm dev v10 if_id 11", "link set ipsec0 up"],
        ...[state(11), policy("in", 11)],
      ]),
    );
    [this.lanIfindex, this.mac] = inNetns(HUB, () => {
      ipBatch([
        ...["link set lo up", `addr add ${NEAR}/24 dev v01`, "link set v01 up"],
        ...["link add ipsec0 type xfrm external", "link set ipsec0 up"],
        ...["link add lan0 type dummy", "addr add 10.5.0.1/24 dev lan0", "link set lan0 up"],
        ...[state(1), policy("out", 1)],
      ]);
      for (const [name, value] of [
        ["ip_forward", 1],
        ["conf/all/rp_filter", 0],
        ["conf/lan0/rp_filter", 0],
      ])
        writeFileSync(`/proc/sys/net/ipv4/${name}`, `${value}`);
      const [lan] = ipJson<{ address: string }>("link", "show", "dev", "lan0");
      return [findIfindex("lan0") as number, lan?.address.replaceAll(":", "") ?? ""];
    });
  }

  /** Takes the loaded generator and sink. */
  use(object: BpfObject): void {
    this.#object = object;
    inNetns(PEER, () => {
      const ifindex = findIfindex("ipsec0") as number;
      attachTc({ ifindex, direction: "ingress", program: object.program("sink") });
    });
  }

  /** Puts a program at the hub's external device; null leaves none. */
  steer(program: BpfProgram | null): void {
    this.#steering?.close();
    this.#steering = program
      ? inNetns(HUB, () =>
          attachTc({ ifindex: findIfindex("ipsec0") as number, direction: "egress", program }),
        )
      : null;
  }

  /**
   * As apply sets it of its interface (src/backends/kernel/device.ts), or as it is by itself. Routes that are there keep
   * what they were made with until they are looked up anew.
   */
  disableXfrm(on: boolean): void {
    inNetns(HUB, () => {
      writeFileSync("/proc/sys/net/ipv4/conf/ipsec0/disable_xfrm", on ? "1" : "0");
      ip("route", "flush", "cache");
    });
  }

  routeAll(): void {
    inNetns(HUB, () => ip("route", "add", "default", "dev", "ipsec0"));
  }

  routeNone(): void {
    inNetns(HUB, () => ip("route", "del", "default", "dev", "ipsec0"));
  }

  /**
   * Gives ipsec0 `count` routes and no others, in the order of their if_ids: the kernel looks for an equal next hop among
   * all of the device (fib_find_info in net/ipv4/fib_semantics.c), beginning with the newest, which takes four times as long as all else.
   */
  setRoutes(count: number, ifIdOf: (k: number) => number, progress: (made: number) => void = () => {}): void {
    const ks = Array.from({ length: count }, (_, k) => k).sort((a, b) => ifIdOf(a) - ifIdOf(b));
    inNetns(HUB, () => {
      ip("route", "flush", "dev", "ipsec0");
      for (let from = 0; from < count; from += ROUTES_AT_ONCE) {
        progress(from);
        ipBatch(
          ks
            .slice(from, from + ROUTES_AT_ONCE)
            .map((k) => `route add ${address(subnet(k))}/24 dev ipsec0 encap xfrm if_id ${ifIdOf(k)}`),
        );
      }
    });
  }

  /** Adds the interfaces, with one route each, that make `from` of them `to`; what each of them cost. */
  addInterfaces(from: number, to: number): { create_instructions: number; memory_bytes: number } {
    const ks = Array.from({ length: to - from }, (_, i) => from + i);
    return inNetns(HUB, () => {
      const available = memoryAvailable();
      const started = process.hrtime.bigint();
      ipBatch(
        ks.flatMap((k) => [`link add x${k} type xfrm dev v01 if_id ${k + 1}`, `link set x${k} group 7 up`]),
      );
      const took = Number(process.hrtime.bigint() - started);
      const memory = available - memoryAvailable();
      ipBatch(ks.map((k) => `route add ${address(subnet(k))}/24 dev x${k}`));
      return {
        create_instructions: Math.round(took / ks.length),
        memory_bytes: Math.round(memory / ks.length),
      };
    });
  }

  /**
   * Instructions a packet: the difference of two runs, in which what a run costs besides cancels out.
   * @throws Error where a packet did not come through
   */
  cost(frame: Buffer): number {
    this.#send(frame, FEW); // neighbours, caches of routes
    const less = this.#send(frame, FEW);
    const more = this.#send(frame, MANY);
    return (more - less) / (MANY - FEW);
  }

  /** ns until all packets are at the sink. */
  #send(frame: Buffer, count: number): number {
    const object = this.#object as BpfObject;
    const delivered = () => Number(object.bss.get("delivered"));
    const before = delivered();
    return inNetns(HUB, () => {
      const started = process.hrtime.bigint();
      object.program("generate").testRun({ data: frame, repeat: count });
      const ended = process.hrtime.bigint();
      const came = delivered() - before;
      if (came !== count)
        throw new Error(`${came} of ${count} packets came through the tunnel; is the path set up?`);
      return Number(ended - started);
    });
  }
}

function memoryAvailable(): number {
  const [, kilobytes] = /^MemAvailable:\s+(\d+) kB$/m.exec(readFileSync("/proc/meminfo", "utf8")) ?? [];
  return Number(kilobytes) * 1024;
}
