/** tshark shares no code with us: it decrypts what we seal, and checks its integrity. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test from "ava";
import { pcapngHeader, pcapngPacket } from "../../src/capture/pcapng.js";
import { SUITE_NAMES, type SuiteName } from "../../src/esp/suite.js";
import { execute } from "../support/cli.js";
import { Engine, keymatOf, SPI } from "./engine.js";
import { frame, ipv4 } from "./frames.js";

const SIZES = [21, 38, 64, 500, 1400];
/** For experiments (RFC 3692): tshark shows the payload as data. */
const PROTOCOL = 253;
const ESP = 50;
const IP_HEADER = 20;

const GCM = "AES-GCM with 16 octet ICV [RFC4106]";
const CBC = "AES-CBC [RFC3602]";
const INTEGRITY: Readonly<Record<string, string>> = {
  sha1: "HMAC-SHA-1-96 [RFC2404]",
  sha256: "HMAC-SHA-256-128 [RFC4868]",
  sha384: "HMAC-SHA-384-192 [RFC4868]",
  sha512: "HMAC-SHA-512-256 [RFC4868]",
};

// No version of tshark knows RFC 7634 in ESP: the kernel's implementation and the RFC's vector stand for that suite.
const suites = SUITE_NAMES.filter((suite) => suite !== "chacha20-poly1305");

/** What tshark calls the suite's parts, with the keys. */
function algorithms(suite: SuiteName, keymat: Uint8Array): string[] {
  const hex = (from: number, to?: number) => {
    const key = Buffer.from(keymat.subarray(from, to)).toString("hex");
    return key === "" ? "" : `0x${key}`;
  };
  if (suite.endsWith("-gcm")) return [GCM, hex(0), "NULL", ""];
  const split = suite.startsWith("null") ? 0 : Number(/^aes(\d+)/.exec(suite)?.[1]) / 8;
  const integrity = INTEGRITY[suite.slice(suite.lastIndexOf("-") + 1)] ?? "";
  return [split === 0 ? "NULL" : CBC, hex(0, split), integrity, hex(split)];
}

const ends = (index: number): [string, string] => [`192.0.2.${index + 1}`, `198.51.100.${index + 1}`];

function outer(esp: Buffer, [from, to]: readonly [string, string]): Buffer {
  const header = Buffer.alloc(IP_HEADER);
  header.writeUInt8(0x45, 0);
  header.writeUInt16BE(IP_HEADER + esp.length, 2);
  header.writeUInt8(64, 8);
  header.writeUInt8(ESP, 9);
  header.set([...from.split("."), ...to.split(".")].map(Number), 12);
  return Buffer.concat([header, esp]);
}

function inner(size: number): Buffer {
  const packet = ipv4(size, size);
  packet.writeUInt8(PROTOCOL, 9);
  return packet;
}

test("tshark decrypts and authenticates packets of every suite, and none with another key", async (t) => {
  const folder = mkdtempSync(join(tmpdir(), "esp-tshark-"));
  t.teardown(() => rmSync(folder, { recursive: true }));
  const associations: string[] = [];
  const packets: Buffer[] = [];
  // The first again at the end, with a wrong key for tshark.
  for (const [index, suite] of [...suites, suites[0] as SuiteName].entries()) {
    const addresses = ends(index);
    const engine = new Engine({ suite, outer: addresses });
    for (const size of SIZES) packets.push(outer(engine.seal(frame(inner(size))) as Buffer, addresses));
    engine.close();
    const keymat = keymatOf(suite);
    if (index === suites.length) keymat[0] = 0xff;
    const row = ["IPv4", ...addresses, `0x${SPI.toString(16)}`, ...algorithms(suite, keymat)];
    associations.push(row.map((value) => `"${value}"`).join(","));
  }
  writeFileSync(join(folder, "esp_sa"), `${associations.join("\n")}\n`);
  const shared = { interfaceId: 0, time: 0n, direction: "out", comment: "" } as const;
  const blocks = packets.map((data) => pcapngPacket({ ...shared, data, length: data.length }));
  const file = join(folder, "esp.pcapng");
  writeFileSync(file, Buffer.concat([pcapngHeader(["outer"]), ...blocks]));

  const fields = ["ip.dst", "esp.icv_good", "data.data"].flatMap((field) => ["-e", field]);
  const preferences = ["esp.enable_encryption_decode:TRUE", "esp.enable_authentication_check:TRUE"];
  const options = preferences.flatMap((preference) => ["-o", preference]);
  const args = [`WIRESHARK_CONFIG_DIR=${folder}`, "tshark", "-n", "-r", file, "-T", "fields", ...fields];
  const { code, stdout, stderr } = await execute("env", [...args, ...options]);
  t.is(code, 0, stderr);
  const rows = stdout.trimEnd().split("\n");
  const expected = suites.flatMap((_suite, index) =>
    SIZES.map((size) => {
      const payload = inner(size).subarray(IP_HEADER).toString("hex");
      return [`${ends(index)[1]},10.1.0.1`, "1", payload].join("\t");
    }),
  );
  t.deepEqual(rows.slice(0, expected.length), expected);
  const wrong = rows.slice(expected.length);
  t.is(wrong.length, SIZES.length);
  for (const row of wrong) t.not(row.split("\t")[1], "1");
});
