import type { Family, Policy, Prefix } from "../../src/config/policy.js";
import type { Random } from "./random.js";
import { randomWords } from "./random-policy.js";

const EXTENSIONS = [0, 43, 44, 51, 60, 135, 139, 140];
const PROTOCOLS = [1, 6, 17, 33, 50, 58, 132, 136, 0, 255];

/** A packet from its IP header on: any family, options, fragments, extension headers, ICMP errors; often cut off somewhere. */
export function randomPacket(random: Random, policy: Policy): Uint8Array {
  if (random.chance(8)) {
    const flow = exactFlow(random, policy);
    if (flow) return flow;
  }
  const family = random.pick([4, 6] as const);
  const packet = random.chance(4) ? icmpError(random, policy, family) : OF[family](random, policy, {});
  if (random.chance(40)) packet[0] = random.below(256);
  if (random.chance(6)) return packet.subarray(0, 1 + random.below(packet.length));
  return packet;
}

/** A packet of one of the policy's exact flows; null without any. */
function exactFlow(random: Random, policy: Policy): Uint8Array | null {
  const family = random.pick([4, 6] as const);
  const { src, dst, proto, ports } = policy.flows[`exact${family}`];
  if (proto.length === 0) return null;
  const row = random.below(proto.length);
  const size = family === 4 ? 1 : 4;
  const header = family === 4 ? 20 : 40;
  const packet = new Uint8Array(header + 8);
  const view = new DataView(packet.buffer);
  view.setUint8(0, family === 4 ? 0x45 : 0x60);
  view.setUint8(family === 4 ? 9 : 6, proto[row] as number);
  for (let w = 0; w < size; w++) {
    view.setUint32(header - 8 * size + 4 * w, src[row * size + w] as number);
    view.setUint32(header - 4 * size + 4 * w, dst[row * size + w] as number);
  }
  view.setUint32(header, ports[row] as number);
  if (random.chance(4))
    packet[random.pick([header - 1, header + 1, family === 4 ? 9 : 6])] = random.below(256);
  return packet;
}

/** Half of the addresses lie in a prefix that the policy names, or next to it. */
function address(random: Random, policy: Policy, family: Family, side: "src" | "dst"): number[] {
  const words = randomWords(random, family);
  const named: readonly Prefix[] = random.chance(2)
    ? policy.rules.length > 0
      ? random.pick(policy.rules).match[side]
      : []
    : random.pick(policy.connections).subnets;
  const of = named.filter((prefix) => prefix.family === family);
  if (of.length > 0 && random.chance(2)) {
    const prefix = random.pick(of);
    prefix.words.forEach((word, i) => {
      const kept = Math.min(32, Math.max(0, prefix.length - 32 * i));
      const mask = kept === 0 ? 0 : -1 << (32 - kept);
      words[i] = ((word & mask) | ((words[i] as number) & ~mask)) >>> 0;
    });
    if (random.chance(6))
      words[words.length - 1] = ((words.at(-1) as number) ^ (1 << random.below(32))) >>> 0;
  }
  return words;
}

function transport(random: Random): Uint8Array {
  const payload = Uint8Array.from(random.list(8 + random.below(24), () => random.below(256)));
  if (random.chance(5)) return payload;
  new DataView(payload.buffer).setUint16(0, random.below(random.chance(4) ? 65536 : 100));
  new DataView(payload.buffer).setUint16(2, random.below(random.chance(4) ? 65536 : 100));
  return payload;
}

/** Fields that are not left to chance. */
interface Given {
  readonly proto?: number;
  readonly dst?: readonly number[];
  readonly payload?: Uint8Array;
}

const ERROR_TYPES = { 4: [3, 4, 11, 12, 5], 6: [1, 2, 3, 4, 100, 137] } as const;

/**
 * An ICMP error about a random packet, mostly for whom that is from: quotes are whole, cut off anywhere, of the other IP
 * version, fragments, of ICMP and of errors.
 */
function icmpError(random: Random, policy: Policy, family: Family): Uint8Array {
  const about = quotable(random, policy, random.chance(20) ? random.pick([4, 6] as const) : family);
  const quoted = random.chance(4) ? about.subarray(0, random.below(about.length + 1)) : about;
  const payload = new Uint8Array(8 + quoted.length);
  payload[0] = random.chance(10) ? random.below(256) : random.pick(ERROR_TYPES[family]);
  payload.set(quoted, 8);
  const start = family === 4 ? 12 : 8;
  const size = family === 4 ? 4 : 16;
  const isFor = !random.chance(8) && about.length >= start + size;
  const view = new DataView(about.buffer, about.byteOffset);
  const dst = Array.from({ length: size / 4 }, (_, w) => view.getUint32(start + 4 * w));
  return OF[family](random, policy, { proto: family === 4 ? 1 : 58, payload, ...(isFor && { dst }) });
}

/** A packet, half of them one of those that an exact flow's other side sends. */
function quotable(random: Random, policy: Policy, family: Family): Uint8Array {
  const flow = random.chance(3) ? exactFlow(random, policy) : null;
  if (flow === null || (flow[0] as number) >>> 4 !== family)
    return random.chance(10) ? icmpError(random, policy, family) : OF[family](random, policy, {});
  if (random.chance(2)) return flow;
  const [start, size] = family === 4 ? [12, 4] : [8, 16];
  const src = flow.slice(start, start + size);
  flow.copyWithin(start, start + size, start + 2 * size);
  flow.set(src, start + size);
  return flow;
}

function ipv4(random: Random, policy: Policy, given: Given): Uint8Array {
  const options = random.chance(5) ? random.below(11) * 4 : 0;
  const payload = given.payload ?? transport(random);
  const packet = new Uint8Array(20 + options + payload.length);
  const view = new DataView(packet.buffer);
  view.setUint8(0, 0x40 | ((20 + options) / 4));
  view.setUint8(1, (random.pick([0, 10, 46, random.below(64)]) << 2) | random.below(4));
  view.setUint16(2, packet.length);
  if (random.chance(given.payload ? 16 : 4))
    view.setUint16(6, (random.below(8) << 13) | (random.chance(2) ? 0 : random.below(8192)));
  view.setUint8(8, 64);
  view.setUint8(9, given.proto ?? random.pick(PROTOCOLS));
  view.setUint32(12, address(random, policy, 4, "src")[0] as number);
  view.setUint32(16, (given.dst ?? address(random, policy, 4, "dst"))[0] as number);
  packet.set(payload, 20 + options);
  return packet;
}

function ipv6(random: Random, policy: Policy, given: Given): Uint8Array {
  const chain = random.chance(given.payload ? 6 : 2)
    ? random.list(random.below(random.chance(4) ? 12 : 4), () => random.pick(EXTENSIONS))
    : [];
  const proto = given.proto ?? random.pick(PROTOCOLS);
  const headers = chain.map((type, i) => extension(random, type, chain[i + 1] ?? proto));
  const payload = given.payload ?? transport(random);
  const packet = new Uint8Array(40 + headers.reduce((sum, { length }) => sum + length, 0) + payload.length);
  const view = new DataView(packet.buffer);
  view.setUint32(0, (6 << 28) | (random.pick([0, 10, 46, random.below(64)]) << 22) | random.below(1 << 22));
  view.setUint16(4, packet.length - 40);
  view.setUint8(6, chain[0] ?? proto);
  view.setUint8(7, 64);
  for (const [i, word] of address(random, policy, 6, "src").entries()) view.setUint32(8 + 4 * i, word);
  for (const [i, word] of (given.dst ?? address(random, policy, 6, "dst")).entries())
    view.setUint32(24 + 4 * i, word);
  let at = 40;
  for (const part of [...headers, payload]) {
    packet.set(part, at);
    at += part.length;
  }
  return packet;
}

const OF = { 4: ipv4, 6: ipv6 } as const;

function extension(random: Random, type: number, next: number): Uint8Array {
  const units = random.chance(3) ? random.below(4) : 0;
  const length = type === 44 ? 8 : type === 51 ? (units + 2) * 4 : (units + 1) * 8;
  const header = Uint8Array.from(random.list(length, () => random.below(256)));
  header[0] = next;
  header[1] = type === 44 ? random.below(256) : units; // reserved in a fragment header
  if (type === 44)
    new DataView(header.buffer).setUint16(2, random.chance(2) ? random.below(8) : random.word() & 0xffff);
  return header;
}
