import { formatPrefix, isMapped, maskWord, parsePrefix } from "./address.js";
import { readDecimal, readIpv4, readIpv6 } from "./address-bytes.js";
import { show } from "./diagnostics.js";
import { closest } from "./names.js";
import type { Family } from "./policy.js";
import {
  IPV6_EXTENSIONS,
  PORT_PROTOCOLS,
  PROTOCOL_NAMES,
  protocolName,
  protocolNumber,
} from "./protocols.js";

/** Fields of a row; those but dst and connection may be empty. */
export const FLOW_FIELDS = ["src", "dst", "proto", "sport", "dport", "connection"] as const;
export type FlowField = (typeof FLOW_FIELDS)[number];

/** What is wrong with a row, and in which field; null where it is the row as a whole. */
export class FlowRowError extends Error {
  readonly hint: string;
  readonly field: FlowField | null;
  constructor(message: string, hint: string, field: FlowField | null) {
    super(message);
    this.hint = hint;
    this.field = field;
  }
}

/** One side's address: its words (as in `Prefix`), and length -1 where the field is empty. */
class Side {
  readonly words = new Uint32Array(4);
  family: Family = 4;
  length = -1;
}

/** A row being read; one is used for all rows of a file. */
export class FlowRow {
  readonly src = new Side();
  readonly dst = new Side();
  /** -1 where the field is empty. */
  proto = -1;
  sport = -1;
  dport = -1;
  connection = -1;
  readonly #connections: ReadonlyMap<string, number>;
  /** Those of the rows so far. */
  readonly #protocols = new Map<string, number>();

  /** @param connections index of each connection by its name */
  constructor(connections: ReadonlyMap<string, number>) {
    this.#connections = connections;
  }

  clear(): void {
    this.src.length = -1;
    this.dst.length = -1;
    this.proto = -1;
    this.sport = -1;
    this.dport = -1;
    this.connection = -1;
  }

  /** Reads a field from its text in bytes[start, end), which is not empty. @throws FlowRowError */
  read(field: FlowField, bytes: Buffer, start: number, end: number): void {
    switch (field) {
      case "src":
      case "dst":
        readSide(this[field], field, bytes, start, end);
        break;
      case "sport":
      case "dport":
        this[field] = readDecimal(bytes, start, end, 65535);
        if (this[field] < 0)
          throw new FlowRowError(
            `${show(text(bytes, start, end))} is not a port`,
            "write a number from 0 to 65535; ranges belong into rules",
            field,
          );
        break;
      case "proto": {
        const name = bytes.toString("latin1", start, end);
        const found = this.#protocols.get(name) ?? protocolNumber(name);
        if (found === null)
          throw unknown(text(bytes, start, end), "proto", PROTOCOL_NAMES, "is not a protocol");
        this.#protocols.set(name, found);
        this.proto = found;
        break;
      }
      case "connection": {
        // Names are ASCII, and this is several times faster than to decode UTF-8.
        const index = this.#connections.get(bytes.toString("latin1", start, end));
        if (index === undefined)
          throw unknown(
            text(bytes, start, end),
            "connection",
            this.#connections.keys(),
            "is not a connection",
          );
        this.connection = index;
      }
    }
  }

  /**
   * Whether the row is a dst prefix alone or one whole 5-tuple, the two that there are.
   *
   * @throws FlowRowError where it is something else
   */
  kind(needsConnection = true): "subnet" | "exact" {
    const { src, dst, proto, sport, dport } = this;
    if (needsConnection && this.connection < 0)
      throw new FlowRowError("there is no connection", "name one", "connection");
    if (dst.length < 0) throw new FlowRowError("there is no dst", "write an address or a prefix", "dst");
    if (src.length < 0 && proto < 0 && sport < 0 && dport < 0) return "subnet";
    const ported = PORT_PROTOCOLS.has(proto);
    if (
      src.length !== (src.family === 4 ? 32 : 128) ||
      dst.length !== (dst.family === 4 ? 32 : 128) ||
      proto < 0 ||
      (ported && (sport < 0 || dport < 0))
    )
      throw new FlowRowError(
        "this is neither a dst prefix alone nor one whole flow",
        "give dst only, or src, dst, proto and both ports, all of them exact; anything else is a rule",
        null,
      );
    if (src.family !== dst.family)
      throw new FlowRowError(
        `src is IPv${src.family} and dst is IPv${dst.family}`,
        "write two addresses of one family",
        "dst",
      );
    if (src.family === 6 && IPV6_EXTENSIONS.has(proto))
      throw new FlowRowError(
        `${protocolName(proto)} over IPv6 is an extension header, which is walked over`,
        "write the protocol behind it",
        "proto",
      );
    if (!ported && (sport >= 0 || dport >= 0))
      throw new FlowRowError(`${protocolName(proto)} has no ports`, "leave sport and dport empty", "proto");
    return "exact";
  }

  /** Source port << 16 | destination port, 0 where there are none. */
  get ports(): number {
    return this.sport < 0 ? 0 : ((this.sport << 16) | this.dport) >>> 0;
  }
}

const SLASH = 0x2f;

function readSide(side: Side, field: FlowField, bytes: Buffer, start: number, end: number): void {
  let addressEnd = start;
  while (addressEnd < end && bytes[addressEnd] !== SLASH) addressEnd++;
  const { words } = side;
  if (readIpv4(bytes, start, addressEnd, words)) side.family = 4;
  else if (readIpv6(bytes, start, addressEnd, words)) side.family = 6;
  else {
    readSlowly(side, field, bytes, start, end);
    return;
  }
  const bits = side.family === 4 ? 32 : 128;
  side.length = addressEnd === end ? bits : readDecimal(bytes, addressEnd + 1, end, bits);
  if (side.length < 0 || hasHostBits(side) || isMapped(side)) readSlowly(side, field, bytes, start, end);
}

function hasHostBits({ words, family, length }: Side): boolean {
  for (let i = 0; i < (family === 4 ? 1 : 4); i++)
    if (((words[i] as number) & ~maskWord(i, length)) !== 0) return true;
  return false;
}

/** Takes the forms that the fast readers do not know, and says what is wrong with the rest. */
function readSlowly(side: Side, field: FlowField, bytes: Buffer, start: number, end: number): void {
  const result = parsePrefix(text(bytes, start, end));
  if (!("prefix" in result)) throw new FlowRowError(result.message, result.hint, field);
  side.family = result.prefix.family;
  side.length = result.prefix.length;
  side.words.set(result.prefix.words);
}

function unknown(word: string, field: FlowField, candidates: Iterable<string>, what: string): FlowRowError {
  const near = closest(word, candidates);
  const fallback = field === "proto" ? "write a name such as udp or a number" : "name one of the policy";
  return new FlowRowError(`${show(word)} ${what}`, near === null ? fallback : `did you mean ${near}?`, field);
}

function text(bytes: Buffer, start: number, end: number): string {
  return bytes.toString("utf8", start, end);
}

/** A side as text, for messages. */
export function formatSide(words: Uint32Array, family: Family, length: number): string {
  return formatPrefix({ family, words: [...words.subarray(0, family === 4 ? 1 : 4)], length });
}
