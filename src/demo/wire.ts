import { spawn } from "node:child_process";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import type { Scope } from "../sys/scope.js";
import { DemoError } from "./error.js";
import type { Flow } from "./flows.js";
import { CONNECTIONS, HUB_OUTER, keyFile, type SiteName } from "./topology.js";

/** A packet as tshark, which shares no code with us, decodes it. */
export interface WirePacket {
  /** null where it is not ESP */
  readonly spi: number | null;
  /** Its integrity check value is right, so key and SPI belong together. */
  readonly authentic: boolean;
  /** Of the innermost IP header, of the outer one where nothing could be decrypted. */
  readonly destination: string;
  readonly protocol: string;
  readonly port: number | null;
}

const FIELDS = [
  "frame.protocols",
  "esp.spi",
  "esp.icv_good",
  "ip.dst",
  "ipv6.dst",
  "udp.dstport",
  "tcp.dstport",
];

/** Gives tshark the keys by a folder of its own, as an argument would show in the list of processes. */
export function writeDecoderKeys(folder: string): string {
  const config = join(folder, "wireshark");
  mkdirSync(config, { mode: 0o700 });
  const lines = (Object.entries(CONNECTIONS) as [SiteName, (typeof CONNECTIONS)[SiteName]][]).flatMap(
    ([site, { remote, spiOut, spiIn }]) =>
      [[HUB_OUTER, remote, spiOut, "out"] as const, [remote, HUB_OUTER, spiIn, "in"] as const].map(
        ([from, to, spi, direction]) => {
          const key = readFileSync(keyFile(folder, site, direction), "utf8").trim();
          const values = [
            "IPv4",
            from,
            to,
            hex(spi),
            "AES-GCM with 16 octet ICV [RFC4106]",
            `0x${key}`,
            "NULL",
            "",
          ];
          return values.map((value) => `"${value}"`).join(",");
        },
      ),
  );
  writeFileSync(join(config, "esp_sa"), `${lines.join("\n")}\n`, { mode: 0o600 });
  return config;
}

/** Decodes all packets of a capture. */
export async function decode(file: string, config: string, scope: Scope): Promise<WirePacket[]> {
  const args = ["-n", "-r", file, "-T", "fields", ...FIELDS.flatMap((field) => ["-e", field])];
  for (const preference of ["esp.enable_encryption_decode:TRUE", "esp.enable_authentication_check:TRUE"])
    args.push("-o", preference);
  // Nothing is to be reassembled: each packet stands for itself.
  for (const preference of ["tcp.desegment_tcp_streams:FALSE", "tcp.analyze_sequence_numbers:FALSE"])
    args.push("-o", preference);
  const child = spawn("tshark", args, {
    env: { ...process.env, WIRESHARK_CONFIG_DIR: config },
    stdio: ["ignore", "pipe", "pipe"],
  });
  scope.own(child);
  let said = "";
  child.stderr.setEncoding("utf8").on("data", (chunk: string) => {
    said += chunk;
  });
  const ended = new Promise<number | null>((resolve, reject) =>
    child.on("error", reject).on("close", resolve),
  );
  const packets: WirePacket[] = [];
  for await (const line of createInterface({ input: child.stdout })) packets.push(parseFields(line));
  const status = await ended;
  if (status !== 0) throw new DemoError(`tshark could not read the capture (${status}): ${said.trim()}`);
  return packets;
}

function parseFields(line: string): WirePacket {
  const [protocols = "", spi = "", good = "", ipv4 = "", ipv6 = "", udp = "", tcp = ""] = line.split("\t");
  const names = protocols.split(":");
  const innermost = names.findLastIndex((name) => name === "ip" || name === "ipv6");
  const last = (list: string) => list.split(",").at(-1) ?? "";
  const protocol =
    names.slice(innermost + 1).find((name) => ["icmp", "icmpv6", "tcp", "udp"].includes(name)) ?? "";
  const port = protocol === "tcp" ? last(tcp) : protocol === "udp" ? last(udp) : "";
  return {
    spi: spi === "" ? null : Number(spi),
    authentic: good === "1" || good === "True",
    destination: names[innermost] === "ipv6" ? last(ipv6) : names[innermost] === "ip" ? last(ipv4) : "",
    protocol,
    port: port === "" ? null : Number(port),
  };
}

/** Whether a packet, as decoded, is one of the flow's on its way from the hub. */
export function belongs(packet: WirePacket, flow: Flow): boolean {
  const protocol = flow.protocol === "ping" ? (flow.to.includes(":") ? "icmpv6" : "icmp") : flow.protocol;
  return packet.protocol === protocol && packet.destination === flow.to && packet.port === flow.port;
}

/** An IP packet that is not ESP: on these wires there must be none. ARP has no IP header. */
export function isPlaintext({ spi, destination }: WirePacket): boolean {
  return spi === null && destination !== "";
}

function hex(value: number): string {
  return `0x${value.toString(16).padStart(8, "0")}`;
}
