import * as z from "zod";
import { SUITE_NAMES } from "../esp/suite.js";
import { NAME_PATTERN } from "./names.js";
import { programSchema } from "./program.js";

/**
 * The shape of a steer.yaml: types, required keys and plain number ranges. Text inside (prefixes, ports, names) is
 * read afterwards, so the schema holds no transform and z.toJSONSchema() takes it as it is. The message of each part
 * says what would be right; shape.ts puts what was found in front of it.
 */

function integer(from: number, to: number, hint = `write a whole number from ${from} to ${to}`) {
  return z.int(hint).min(from, hint).max(to, hint);
}

function oneOrMore<T extends z.ZodType>(item: T, hint: string) {
  return z.union([item, z.array(item, hint).min(1, hint)], hint);
}

/** One value, a list, or either of them behind `not`. */
function negatable<T extends z.ZodType>(item: T, hint: string) {
  const values = oneOrMore(item, hint);
  return z.union([item, z.array(item, hint).min(1, hint), z.strictObject({ not: values }, hint)], hint);
}

const PREFIX_HINT = 'write a prefix such as 10.1.0.0/16 or, in quotes, "fd00:1::/48"';
const PREFIXES_HINT = `${PREFIX_HINT}, or a list of them; leave the key out to match any`;
const PORT_HINT = 'write a port (53), a range ("5060-5070") or a list of them';
const MARK_HINT = "write a value (0x66) or value/mask (0x1/0xff), each at most 0xffffffff";
const PROTO_HINT = "write a name such as tcp, udp or icmp, or a number from 0 to 255";
const DSCP_HINT = "write a name such as ef, af41 or cs1, or a number from 0 to 63";
const KEY_HINT = "write key: file:PATH or key: env:NAME; the key itself never stands in the policy";
const ICMP_HINT = 'write a number from 0 to 255, a range ("133-137") or a list of them';
const ECN_HINT = "write not-ect, ect0, ect1, ce, or a number from 0 to 3";
const IIF_HINT = "write the name of a network device, group:NAME, or a list of them";
const LENGTH_HINT = 'write bytes (1400), a range ("0-128") or a list of them';
const FRAGMENT_HINT = "write none, first or later, or a list of them";
const U32_MAX = 0xffffffff;

const numberOrText = (hint: string) => z.union([z.number(hint), z.string(hint)], hint);
const ports = negatable(numberOrText(PORT_HINT), PORT_HINT);
const prefixes = negatable(z.string(PREFIX_HINT), PREFIXES_HINT);
const mark = z.union([z.number(MARK_HINT), z.string(MARK_HINT)], MARK_HINT);

/** Schemas of names: of connections, rules, files and devices. Where they look like numbers, their text is what counts. */
export const NAMES = new Set<unknown>();
const named = <T extends z.ZodType>(schema: T): T => {
  NAMES.add(schema);
  return schema;
};
const text = (hint: string) => named(z.string(hint));
const deviceName = text("write the name of a network device");

const sa = z
  .strictObject(
    {
      // RFC 4303 section 2.1: 0 is for local use, 1 to 255 are reserved.
      spi: integer(
        256,
        U32_MAX,
        "write a number from 0x100 to 0xffffffff (RFC 4303 section 2.1 reserves 0 to 255)",
      ),
      key: z.string(KEY_HINT),
    },
    "write {spi: 0x1001, key: file:PATH}",
  )
  .describe("One SA: its SPI and where its key is kept");

const port = integer(1, 65535).optional();

const address = z.string("write an IP address such as 192.0.2.1");
const count = (what: string) => integer(1, Number.MAX_SAFE_INTEGER).optional().describe(what);

const limits = z
  .strictObject(
    {
      packets: count("Packets"),
      bytes: count("Bytes of inner packets"),
      seconds: count("Seconds since it was added"),
    },
    "write a mapping such as {bytes: 100000000000, seconds: 3600}",
  )
  .optional();

const esp = z
  .strictObject(
    {
      mode: z
        .enum(["tunnel", "transport", "beet"], "write tunnel, transport or beet")
        .optional()
        .describe("tunnel if left out"),
      inner: z
        .strictObject({ local: address, remote: address }, "write {local: 10.0.0.1, remote: 10.1.0.1}")
        .optional()
        .describe("BEET: addresses of the inner packets at this and at the other end"),
      encapsulation: z
        .enum(["udp", "none"], "write udp or none")
        .optional()
        .describe("udp (RFC 3948) if left out; none is IP protocol 50"),
      local: z.string("write the outer address of this end").describe("Outer address of this end"),
      remote: z.string("write the outer address of the other end").describe("Outer address of the other end"),
      local_port: port.describe("UDP port of this end (RFC 3948); 4500 if left out"),
      remote_port: port.describe("UDP port of the other end; 4500 if left out"),
      suite: z.enum(SUITE_NAMES, `write one of ${SUITE_NAMES.join(", ")}`),
      out: sa,
      in: sa,
      also_in: z
        .array(sa, "write a list of SAs")
        .optional()
        .describe("Inbound SAs that are valid besides, while a rekey is under way"),
      esn: z
        .boolean("write true or false")
        .optional()
        .describe("Extended sequence numbers (RFC 4304); false if left out"),
      replay_window: integer(32, 4096).optional().describe("Anti-replay window in packets; 1024 if left out"),
      pad_to: integer(0, 65_000)
        .optional()
        .describe(
          "Tunnel mode: bytes that each inner packet is padded to (RFC 4303 section 2.7); 0 if left out",
        ),
      offload: z
        .strictObject(
          {
            device: named(deviceName.describe("The device that the SAs are offloaded to")),
            mode: z
              .enum(["crypto", "packet"], "write crypto or packet")
              .optional()
              .describe("crypto if left out; packet: the device does all of IPsec, and nothing falls back"),
            required: z
              .boolean("write true or false")
              .optional()
              .describe("Whether it is an error that the device refuses an SA; false if left out"),
          },
          "write {device: eth0, mode: crypto}",
        )
        .optional()
        .describe("IPsec offload to a network device"),
      lifetime: z
        .strictObject({ soft: limits, hard: limits }, "write {soft: {seconds: 3000}, hard: {seconds: 3600}}")
        .optional()
        .describe(
          "Of each SA: at a soft limit an event asks for a new one (sa monitor), at a hard one it is refused",
        ),
    },
    "write a mapping with local, remote, suite, out and in",
  )
  .describe("Manual keys for the userspace backend");

const connectionParts = {
  link: deviceName.optional().describe("Underlay device; routing chooses if left out"),
  rx: z.strictObject({ mark }, "write {mark: 0x66}").optional().describe("Given to received packets"),
};

const connection = z.strictObject(
  {
    if_id: integer(
      1,
      U32_MAX,
      "write a number from 1 to 0xffffffff (0 would match policies that have no if_id)",
    ),
    link: connectionParts.link,
    subnets: z.array(z.string(PREFIX_HINT), "write a list of prefixes").optional(),
    rx: connectionParts.rx,
    esp: esp.optional(),
  },
  "write a mapping such as {if_id: 101, subnets: [10.1.0.0/16]}",
);

/** What two connections never share. */
export const NO_DEFAULTS: readonly string[] = ["if_id", "subnets", "out", "in", "also_in"];

/** Mappings that the `defaults` of a file may complete. */
export const FILLED_BY_DEFAULTS: readonly unknown[] = [
  esp,
  esp.shape.inner.unwrap(),
  esp.shape.offload.unwrap(),
];

/** All of `esp` but the SAs; what it asks for may be said in part here and in part in a connection. */
const espDefaults = esp
  .omit({ out: true, in: true, also_in: true })
  .extend({
    inner: esp.shape.inner.unwrap().partial().optional(),
    offload: esp.shape.offload.unwrap().partial().optional(),
  })
  .partial();

const defaults = z
  .strictObject(
    {
      ...connectionParts,
      esp: espDefaults.optional().describe("For connections that have an esp of their own"),
    },
    "write a mapping such as {link: wan0, esp: {suite: aes256-gcm}}",
  )
  .optional()
  .describe(
    "What the connections of this file, and of those that it includes, take where they do not say it themselves",
  );

const match = z.strictObject(
  {
    src: prefixes.optional(),
    dst: prefixes.optional(),
    proto: negatable(numberOrText(PROTO_HINT), PROTO_HINT).optional(),
    sport: ports.optional(),
    dport: ports.optional(),
    icmp_type: negatable(numberOrText(ICMP_HINT), ICMP_HINT)
      .optional()
      .describe("ICMP or ICMPv6 type; needs proto icmp or ipv6-icmp"),
    dscp: negatable(numberOrText(DSCP_HINT), DSCP_HINT).optional(),
    ecn: negatable(numberOrText(ECN_HINT), ECN_HINT).optional(),
    mark: negatable(mark, MARK_HINT).optional(),
    iif: negatable(text(IIF_HINT), IIF_HINT)
      .optional()
      .describe("Interface on which a forwarded packet came in, or group:NAME for a device group"),
    length: negatable(numberOrText(LENGTH_HINT), LENGTH_HINT)
      .optional()
      .describe("Bytes of the packet from its IP header on"),
    fragment: negatable(z.enum(["none", "first", "later"], FRAGMENT_HINT), FRAGMENT_HINT).optional(),
  },
  "write a mapping such as {dst: 10.1.0.0/16, proto: udp, dport: 53}, or leave match out to match everything",
);

const TARGET_HINT = "write the name of a connection, drop or pass";
const MEMBER_HINT = "write {branch-a: 3}: the name of a connection and its weight";

const target = z.union(
  [
    text(TARGET_HINT),
    z.strictObject(
      { connection: text("write the name of a connection"), link: deviceName.optional() },
      TARGET_HINT,
    ),
    z.strictObject(
      {
        group: z
          .array(
            z.union([text(MEMBER_HINT), z.record(z.string(), z.int(MEMBER_HINT), MEMBER_HINT)], MEMBER_HINT),
            "write a list such as [{branch-a: 3}, {branch-b: 1}]",
          )
          .min(1, "write a list such as [{branch-a: 3}, {branch-b: 1}]"),
      },
      TARGET_HINT,
    ),
  ],
  TARGET_HINT,
);

const rule = z.strictObject(
  {
    name: text("write a name in text").optional().describe("rule-N, counted from 1, if left out"),
    match: match.optional(),
    to: target.describe("A connection, drop, pass, or a group of connections"),
    set: z
      .strictObject(
        { mark: mark.optional(), dscp: numberOrText(DSCP_HINT).optional() },
        "write {mark: 0x1/0xff} or {dscp: ef}",
      )
      .optional()
      .describe("Changed in the packets that the rule decides about"),
  },
  "write a mapping such as {match: {dst: 10.1.0.0/16}, to: CONNECTION}",
);

const FILES_HINT =
  "write the name of a file, a pattern such as conf.d/*.yaml, or a list of them; they are looked for in this file's folder";
const files = oneOrMore(text(FILES_HINT), FILES_HINT);

const MTU_HINT = "write auto or a number of bytes from 68 to 65535";

const interfaceSchema = z.strictObject(
  {
    name: deviceName.optional().describe("ipsec0 if left out"),
    mtu: z.union([z.literal("auto"), integer(68, 65535, MTU_HINT)], MTU_HINT).optional(),
    addresses: z.array(z.string(PREFIX_HINT), 'write a list such as [10.0.0.1/32, "fd00::1/128"]').optional(),
    guard: z
      .boolean("write true or false")
      .optional()
      .describe(
        "Unreachable routes beneath what connections own, so that it does not leave in the clear; true if left out",
      ),
    routes: z
      .boolean("write true or false")
      .optional()
      .describe("Make routes of what connections own into the interface; false if left out"),
  },
  "write a mapping such as {name: ipsec0, mtu: auto, addresses: [10.0.0.1/32]}",
);

/** Top-level keys that begin so are left alone: a place for anchors, as in Compose files. */
export const EXTENSION_PREFIX = "x-";

const BACKENDS = ["auto", "kernel-bpf", "kernel-lwt", "userspace"] as const;

export const policySchema = z.strictObject(
  {
    version: z.literal(1, "write version: 1, the only one that this release reads"),
    backend: z.enum(BACKENDS, "write auto, kernel-bpf, kernel-lwt or userspace").optional(),
    interface: interfaceSchema.optional(),
    include: files
      .optional()
      .describe("Files whose connections, rules and flows are part of this policy; their rules come first"),
    defaults,
    connections: z
      .record(z.string(), connection, "write a mapping of names to connections")
      .meta({ propertyNames: { pattern: NAME_PATTERN.source } })
      .optional(),
    rules: z.array(rule, "write a list of rules, or leave the key out").optional(),
    flows: files
      .optional()
      .describe("Bulk flows: CSV with a header (src,dst,proto,sport,dport,connection) or NDJSON"),
    default: z.enum(["drop", "pass"], "write drop or pass").optional(),
    program: programSchema.optional(),
  },
  "write a mapping that starts with 'version: 1'",
);

/** A policy's values as written: the shape is right, the text inside is not yet read. */
export type RawPolicy = z.infer<typeof policySchema>;
