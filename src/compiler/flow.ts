import { type Address, formatAddress, parseAddress } from "../config/address.js";
import { isInterfaceName } from "../config/names.js";
import { DEVICE_GROUP } from "../config/policy.js";
import {
  dscpName,
  dscpNumber,
  ecnName,
  ecnNumber,
  ICMP_OF,
  IPV6_EXTENSIONS,
  PORT_PROTOCOLS,
  protocolName,
  protocolNumber,
} from "../config/protocols.js";
import {
  dstAddress,
  isErrorType,
  type Malformed,
  type PacketKey,
  parsePacket,
  srcAddress,
} from "./packet.js";

/** A packet in words that cannot be read; the hint says what would be right. */
export class FlowSyntaxError extends Error {
  override readonly name = "FlowSyntaxError";
  readonly hint: string;

  constructor(message: string, hint: string) {
    super(message);
    this.hint = hint;
  }
}

const USAGE =
  'write "udp 10.0.0.1:1234 > 192.168.1.200:5060", "tcp [fd00::1]:1 > [fd00::2]:443" or "icmp 10.0.0.1 > 10.0.0.2", ' +
  "then, if wanted, type 8, dscp ef, ecn ce, mark 0x1, iif lan0, group lan, len 1400, fragment later; " +
  'and behind an ICMP error, as type 3, quoting "udp 10.0.0.1:1234 > 192.168.1.200:5060"';

/** A packet as text: a flow, or its bytes from the IP header on in hexadecimal. @throws FlowSyntaxError */
export function parsePacketText(text: string): PacketKey | Malformed {
  return text.includes(">") ? parseFlow(text) : parsePacket(parseHex(text));
}

/** Reads hexadecimal digits; white space and colons between them do not count. @throws FlowSyntaxError */
export function parseHex(text: string): Uint8Array {
  const digits = text.replace(/[\s:]+/g, "");
  if (!/^(?:[0-9a-f]{2})+$/i.test(digits)) {
    throw new FlowSyntaxError("this is neither a flow nor bytes in hexadecimal", USAGE);
  }
  return Uint8Array.from(Buffer.from(digits, "hex"));
}

/**
 * Reads `PROTO SRC[:PORT] > DST[:PORT]` and the optional words behind it; behind an ICMP error also `quoting` and the flow of the
 * packet that it is about, which may stand in double quotes. @throws FlowSyntaxError
 */
export function parseFlow(text: string): PacketKey {
  const [, own, inQuotes, bare] = /^(.*?)\squoting\s+(?:"([^"]*)"\s*|([^"]*))$/s.exec(text) ?? [];
  if (own === undefined) return parseOne(text);
  const error = parseOne(own);
  if (!isErrorType(error.family, error.icmpType) || error.fragment !== "none")
    throw new FlowSyntaxError(
      "only a whole ICMP error quotes a packet",
      error.family === 4 ? "write type 3, 4, 11 or 12" : "write a type from 0 to 127, such as 2",
    );
  return { ...error, quoted: parseQuoted(inQuotes ?? bare ?? "", error.family) };
}

/** What an ICMP error quotes: it says nothing of marks and devices, and is no error. */
function parseQuoted(text: string, family: PacketKey["family"]): PacketKey {
  const quoted = parseFlow(text);
  if (quoted.family !== family)
    throw new FlowSyntaxError(
      `the error is IPv${family}, what it quotes IPv${quoted.family}`,
      "write addresses of one family",
    );
  if (isErrorType(family, quoted.icmpType))
    throw new FlowSyntaxError("there are no ICMP errors about ICMP errors", "quote another packet");
  if (quoted.mark !== 0 || quoted.iif !== null || quoted.iifGroup !== null)
    throw new FlowSyntaxError("a quoted packet shows no mark, iif and group", "write them before quoting");
  return quoted;
}

function parseOne(text: string): PacketKey {
  const [protoText = "", srcText = "", arrow, dstText = "", ...rest] = text.trim().split(/\s+/);
  if (arrow !== ">") throw new FlowSyntaxError(`${JSON.stringify(text)} is not a flow`, USAGE);
  const proto = protocolNumber(protoText);
  if (proto === null)
    throw new FlowSyntaxError(
      `${JSON.stringify(protoText)} is not a protocol`,
      "write tcp, udp, icmp or a number",
    );
  const options = parseOptions(rest);
  const hasPorts = PORT_PROTOCOLS.has(proto) && options.fragment !== "later";
  const src = parseEndpoint(srcText, hasPorts, protoText);
  const dst = parseEndpoint(dstText, hasPorts, protoText);
  const { family } = src.address;
  if (dst.address.family !== family) {
    throw new FlowSyntaxError(
      `the source is IPv${family}, the destination IPv${dst.address.family}`,
      "write two addresses of one family",
    );
  }
  if (family === 6 && IPV6_EXTENSIONS.has(proto) && options.fragment !== "later")
    throw new FlowSyntaxError(
      `${protoText} over IPv6 is an extension header, which is walked over`,
      "write the protocol behind it, or fragment later",
    );
  const { icmpCode, ...fields } = options;
  for (const [name, value] of [
    ["type", options.icmpType],
    ["code", icmpCode],
  ] as const)
    if (value !== undefined && (proto !== ICMP_OF[family] || options.fragment === "later"))
      throw new FlowSyntaxError(
        `${protoText} over IPv${family} has no ICMP ${name} there`,
        `leave out ${name}`,
      );
  return {
    family,
    src: src.address.words,
    dst: dst.address.words,
    proto,
    sport: src.port,
    dport: dst.port,
    icmpType: null,
    dscp: 0,
    ecn: 0,
    fragment: "none",
    mark: 0,
    iif: null,
    iifGroup: null,
    // The shortest packet with these headers.
    length: (family === 4 ? 20 : 40) + (hasPorts ? 8 : 0),
    quoted: null,
    ...fields,
  };
}

/** The flow as `parseFlow` reads it, as far as it can be written so. */
export function formatFlow(key: PacketKey): string {
  const words = [
    key.proto === null ? "unknown protocol" : protocolName(key.proto),
    formatEndpoint(srcAddress(key), key.sport),
    ">",
    formatEndpoint(dstAddress(key), key.dport),
  ];
  if (key.icmpType !== null) words.push(`type ${key.icmpType}`);
  if (key.dscp !== 0) words.push(`dscp ${dscpName(key.dscp)}`);
  if (key.ecn !== 0) words.push(`ecn ${ecnName(key.ecn)}`);
  if (key.mark !== 0) words.push(`mark 0x${key.mark.toString(16)}`);
  if (key.iif !== null) words.push(`iif ${key.iif}`);
  if (key.iifGroup !== null) words.push(`group ${key.iifGroup.slice(DEVICE_GROUP.length)}`);
  if (key.fragment !== "none") words.push(`fragment ${key.fragment}`);
  if (key.quoted !== null) words.push(`quoting "${formatFlow(key.quoted)}"`);
  return words.join(" ");
}

function formatEndpoint(address: Address, port: number | null): string {
  const text = formatAddress(address);
  if (port === null) return text;
  return address.family === 4 ? `${text}:${port}` : `[${text}]:${port}`;
}

interface Endpoint {
  readonly address: Address;
  readonly port: number | null;
}

/** `addr:port` (IPv4), `[addr]:port` (either family), or the bare address where the protocol has no ports. */
function parseEndpoint(text: string, hasPorts: boolean, proto: string): Endpoint {
  const [, bracketed, plain, portText] = /^(?:\[(.*)\]|([^:]*))(?::(\d+))?$/.exec(text) ?? [];
  const address = parseAddress(bracketed ?? plain ?? text);
  if (address === null) throw new FlowSyntaxError(`${JSON.stringify(text)} is not an address`, USAGE);
  if (!hasPorts) {
    if (portText !== undefined) throw new FlowSyntaxError(`${proto} has no ports`, `leave out :${portText}`);
    return { address, port: null };
  }
  if (portText === undefined) {
    const right = address.family === 6 ? `[${formatAddress(address)}]` : formatAddress(address);
    throw new FlowSyntaxError(
      `${JSON.stringify(text)} has no port, and ${proto} has ports`,
      `write ${right}:PORT`,
    );
  }
  if (Number(portText) > 65535)
    throw new FlowSyntaxError(`port ${portText} is out of range`, "ports go from 0 to 65535");
  return { address, port: Number(portText) };
}

type Options = Partial<
  Pick<PacketKey, "icmpType" | "dscp" | "ecn" | "mark" | "iif" | "iifGroup" | "length" | "fragment"> & {
    /** No rule asks for it. */
    icmpCode: number;
  }
>;

/** The optional words, as pairs of a name and a value. */
function parseOptions(words: readonly string[]): Options {
  const options: { -readonly [K in keyof Options]: Options[K] } = {};
  for (let index = 0; index < words.length; index += 2) {
    const [name = "", value = ""] = words.slice(index, index + 2);
    const wrong = (hint: string) =>
      new FlowSyntaxError(`${JSON.stringify(value)} is not a valid ${name}`, hint);
    switch (name) {
      case "dscp": {
        const dscp = dscpNumber(value);
        if (dscp === null) throw wrong("write a name such as ef or af41, or a number from 0 to 63");
        options.dscp = dscp;
        break;
      }
      case "ecn": {
        const ecn = ecnNumber(value);
        if (ecn === null) throw wrong("write not-ect, ect0, ect1 or ce");
        options.ecn = ecn;
        break;
      }
      case "type":
        if (!/^\d+$/.test(value) || Number(value) > 255) throw wrong("write a number from 0 to 255");
        options.icmpType = Number(value);
        break;
      case "code":
        if (!/^\d+$/.test(value) || Number(value) > 255) throw wrong("write a number from 0 to 255");
        options.icmpCode = Number(value);
        break;
      case "group":
        if (!/^[\w.-]+$/.test(value)) throw wrong("write the name or number of a device group");
        options.iifGroup = `${DEVICE_GROUP}${value}`;
        break;
      case "fragment":
        if (value !== "none" && value !== "first" && value !== "later")
          throw wrong("write none, first or later");
        options.fragment = value;
        break;
      case "mark":
        if (!/^(0x[0-9a-f]+|\d+)$/i.test(value) || Number(value) > 0xffffffff)
          throw wrong("write a number up to 0xffffffff");
        options.mark = Number(value);
        break;
      case "iif":
        if (!isInterfaceName(value)) throw wrong("write the name of a network interface");
        options.iif = value;
        break;
      case "len":
        if (!/^\d+$/.test(value) || Number(value) > 65535 + 40) throw wrong("write a number of bytes");
        options.length = Number(value);
        break;
      default:
        throw new FlowSyntaxError(
          `${JSON.stringify(name)} is not known here`,
          "behind the flow may stand type, code, dscp, ecn, mark, iif, group, len, fragment, and quoting at last",
        );
    }
  }
  return options;
}
