import { NO_FLOWS } from "../../config/flows.js";
import type {
  BackendName,
  Connection,
  EspConfig,
  ExactFlows,
  FlowSubnets,
  Flows,
  FragmentState,
  KeySource,
  Location,
  Masked,
  Match,
  Policy,
  Prefix,
  Rule,
  SaConfig,
  Target,
} from "../../config/policy.js";
import { SUITE_NAMES } from "../../esp/suite.js";
import { MATCH_FIELDS } from "../reference.js";
import { fieldName } from "./encode.js";
import { programFromWire } from "./program.js";
import type {
  WireColumns,
  WireConnection,
  WireEsp,
  WireFlows,
  WireLocation,
  WireMatch,
  WirePolicy,
  WirePrefix,
  WireRule,
  WireSa,
} from "./wire.js";

/** What a bundle's content should be and is not. */
export class ContentError extends Error {
  override readonly name = "ContentError";
}

/** @throws ContentError where a reference leads nowhere, a part is missing or a number is none that the schema has */
export function fromWire(wire: WirePolicy): Policy {
  if (wire.version !== 1) throw new ContentError(`its policy has version ${wire.version}`);
  const locate: Locate = (location) => {
    const { file, line, column } = needed(location, "location");
    return { file: at(wire.files, file, "file"), line, column };
  };
  const { name, mtu, addresses, guard, routes } = needed(wire.interface, "interface");
  const connections = wire.connections.map((each) => connection(each, locate));
  const known = new Set(connections.map((each) => each.name));
  return {
    version: 1,
    backend: one(BACKENDS, wire.backend),
    interface: {
      ...{ name, mtu: mtu ?? "auto", addresses: addresses.map(prefix) },
      ...{ guard: guard ?? true, routes },
    },
    connections,
    rules: wire.rules.map((each) => rule(each, known, locate)),
    flows: flows(wire.flows, connections.length),
    default: one(ACTIONS, wire.default),
    ...(wire.program ? { program: programFromWire(wire.program) } : {}),
  };
}

type Locate = (location: WireLocation | null) => Location;

const BACKENDS: Readonly<Record<string, "auto" | BackendName>> = {
  AUTO: "auto",
  KERNEL_BPF: "kernel-bpf",
  KERNEL_LWT: "kernel-lwt",
  USERSPACE: "userspace",
};
const ACTIONS: Readonly<Record<string, "drop" | "pass">> = { DROP: "drop", PASS: "pass" };
const FRAGMENTS: Readonly<Record<string, FragmentState>> = { NONE: "none", FIRST: "first", LATER: "later" };
const byName = <T extends string>(names: readonly T[]): Readonly<Record<string, T>> =>
  Object.fromEntries(names.map((name) => [name, name]));
const SUITES = byName(SUITE_NAMES);
const MODES = byName(["tunnel", "transport", "beet"]);
const OFFLOAD_TYPES = byName(["crypto", "packet"]);
const ENCAPSULATIONS = byName(["udp", "none"]);
const FIELDS = Object.fromEntries(MATCH_FIELDS.map((field) => [fieldName(field), field]));

function needed<T>(value: T | null | undefined, what: string): T {
  if (value === null || value === undefined) throw new ContentError(`a ${what} is missing`);
  return value;
}

function one<T>(values: Readonly<Record<string, T>>, name: string): T {
  if (!Object.hasOwn(values, name)) throw new ContentError(`${JSON.stringify(name)} is not known`);
  return values[name] as T;
}

function at<T>(list: readonly T[], index: number, what: string): T {
  if (index >= list.length) throw new ContentError(`there is no ${what} ${index}`);
  return list[index] as T;
}

function prefix({ address, length }: WirePrefix): Prefix {
  if ((address.length !== 4 && address.length !== 16) || length > 8 * address.length)
    throw new ContentError(`a prefix has ${address.length} bytes and length ${length}`);
  const view = new DataView(address.buffer, address.byteOffset, address.byteLength);
  const words = Array.from({ length: address.length / 4 }, (_, index) => view.getUint32(4 * index));
  return { family: words.length === 1 ? 4 : 6, words, length };
}

function connection(wire: WireConnection, locate: Locate): Connection {
  const { name, ifId, link, subnets, rxMark, esp: keyed, location } = wire;
  return {
    name,
    ifId,
    link: link ?? null,
    subnets: subnets.map(prefix),
    rxMark,
    esp: keyed === null ? null : esp(keyed, locate),
    location: locate(location),
  };
}

function esp(wire: WireEsp, locate: Locate): EspConfig {
  const { suite, mode, encapsulation, out, in: inbound, alsoIn, soft, hard, offload, ...rest } = wire;
  return {
    ...rest,
    suite: one(SUITES, suite),
    mode: one(MODES, mode),
    encapsulation: one(ENCAPSULATIONS, encapsulation),
    out: sa(out, locate),
    in: sa(inbound, locate),
    alsoIn: alsoIn.map((each) => sa(each, locate)),
    offload: offload && { ...offload, type: one(OFFLOAD_TYPES, offload.type) },
    lifetime: { ...(soft ? { soft } : {}), ...(hard ? { hard } : {}) },
  };
}

function sa(wire: WireSa | null, locate: Locate): SaConfig {
  const { spi, file, env, location: where } = needed(wire, "SA");
  const location = locate(where);
  const key: KeySource =
    file !== undefined
      ? { kind: "file", path: file, location }
      : { kind: "env", name: needed(env, "key source"), location };
  return { spi, key };
}

function rule(wire: WireRule, connections: ReadonlySet<string>, locate: Locate): Rule {
  return {
    name: wire.name,
    match: match(needed(wire.match, "match")),
    to: target(wire, connections),
    set: { mark: wire.setMark, dscp: wire.setDscp ?? null },
    location: locate(wire.location),
  };
}

function target({ name, connection, group, action }: WireRule, connections: ReadonlySet<string>): Target {
  const known = (wanted: string) => {
    if (!connections.has(wanted)) throw new ContentError(`rule ${name}: there is no connection ${wanted}`);
    return wanted;
  };
  if (connection !== undefined)
    return { kind: "connection", connection: known(connection.connection), link: connection.link ?? null };
  if (group !== undefined) {
    if (group.members.length === 0) throw new ContentError(`rule ${name}: its group is empty`);
    for (const member of group.members) known(member.connection);
    return { kind: "group", members: group.members };
  }
  return { kind: one(ACTIONS, needed(action, "target")) };
}

function match({ src, dst, fragment, not, ...rest }: WireMatch): Match {
  const marks: readonly Masked[] = rest.mark;
  return {
    ...rest,
    mark: marks,
    src: src.map(prefix),
    dst: dst.map(prefix),
    fragment: fragment.map((state) => one(FRAGMENTS, state)),
    not: not.map((field) => one(FIELDS, field)),
  };
}

function flows(wire: WireFlows | null, connections: number): Flows {
  if (wire === null) return NO_FLOWS;
  const { files } = wire;
  const check = <T extends FlowSubnets | ExactFlows>(of: T): T => {
    if (of.file.some((file) => file >= files.length)) throw new ContentError("a flow has no file");
    if (of.connection.some((index) => index >= connections))
      throw new ContentError("a flow has no connection");
    return of;
  };
  return {
    files,
    subnets4: check(subnets(wire.subnets4, 1)),
    subnets6: check(subnets(wire.subnets6, 4)),
    exact4: check(exact(wire.exact4, 1)),
    exact6: check(exact(wire.exact6, 4)),
  };
}

function subnets(wire: WireColumns | null, size: 1 | 4): FlowSubnets {
  if (wire === null) return NO_FLOWS.subnets4;
  const { bytes, words } = columnsOf(wire);
  return {
    words: words("words", size),
    length: bytes("length"),
    connection: words("connection", 1),
    file: bytes("file"),
    line: words("line", 1),
  };
}

function exact(wire: WireColumns | null, size: 1 | 4): ExactFlows {
  if (wire === null) return NO_FLOWS.exact4;
  const { bytes, words } = columnsOf(wire);
  return {
    src: words("src", size),
    dst: words("dst", size),
    proto: bytes("proto"),
    ports: words("ports", 1),
    connection: words("connection", 1),
    file: bytes("file"),
    line: words("line", 1),
  };
}

/** Readers of columns that all have as many rows as `file` has bytes. */
function columnsOf(wire: WireColumns) {
  const rows = wire.file?.length ?? 0;
  const bytes = (name: string, size = 1): Uint8Array => {
    const column = wire[name] ?? new Uint8Array(0);
    if (column.length !== rows * size)
      throw new ContentError(`column ${name} has ${column.length} bytes for ${rows} rows`);
    // A copy of its own: the bytes of a message need not be aligned for words.
    return Uint8Array.from(column);
  };
  return {
    bytes,
    words: (name: string, size: number) => new Uint32Array(bytes(name, 4 * size).buffer as ArrayBuffer),
  };
}
