import type {
  Connection,
  EspConfig,
  ExactFlows,
  FlowSubnets,
  Flows,
  Location,
  Match,
  MatchField,
  Policy,
  Prefix,
  Rule,
  SaConfig,
} from "../../config/policy.js";
import { programToWire } from "./program.js";
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

/** File names by number; each is written once. */
class Files {
  readonly names: string[] = [];
  readonly #numbers = new Map<string, number>();

  locate({ file, line, column }: Location): WireLocation {
    let number = this.#numbers.get(file);
    if (number === undefined) {
      number = this.names.push(file) - 1;
      this.#numbers.set(file, number);
    }
    return { file: number, line, column };
  }
}

export function toWire(policy: Policy): WirePolicy {
  const files = new Files();
  const { name, mtu, addresses, guard, routes } = policy.interface;
  return {
    version: policy.version,
    backend: policy.backend.toUpperCase().replace("-", "_"),
    interface: {
      ...{ name, ...(mtu === "auto" ? {} : { mtu }), addresses: addresses.map(prefix) },
      ...{ guard, routes },
    },
    connections: policy.connections.map((each) => connection(each, files)),
    rules: policy.rules.map((each) => rule(each, files)),
    flows: flows(policy.flows),
    default: policy.default.toUpperCase(),
    files: files.names,
    program: policy.program ? programToWire(policy.program) : null,
  };
}

function prefix({ words, length }: Prefix): WirePrefix {
  const address = new Uint8Array(4 * words.length);
  const view = new DataView(address.buffer);
  words.forEach((word, index) => {
    view.setUint32(4 * index, word);
  });
  return { address, length };
}

function connection(
  { name, ifId, link, subnets, rxMark, esp: keyed, location }: Connection,
  files: Files,
): WireConnection {
  return {
    name,
    ifId,
    ...(link === null ? {} : { link }),
    subnets: subnets.map(prefix),
    rxMark,
    esp: keyed === null ? null : esp(keyed, files),
    location: files.locate(location),
  };
}

function esp({ out, in: inbound, alsoIn, lifetime, ...rest }: EspConfig, files: Files): WireEsp {
  return {
    ...rest,
    out: sa(out, files),
    in: sa(inbound, files),
    alsoIn: alsoIn.map((each) => sa(each, files)),
    soft: lifetime.soft ?? null,
    hard: lifetime.hard ?? null,
  };
}

function sa({ spi, key }: SaConfig, files: Files): WireSa {
  const where = key.kind === "file" ? { file: key.path } : { env: key.name };
  return { spi, ...where, location: files.locate(key.location) };
}

function rule({ name, match: asked, to, set, location }: Rule, files: Files): WireRule {
  const target = () => {
    switch (to.kind) {
      case "connection":
        return {
          connection: { connection: to.connection, ...(to.link === null ? {} : { link: to.link }) },
        };
      case "group":
        return { group: { members: [...to.members] } };
      default:
        return { action: to.kind.toUpperCase() };
    }
  };
  return {
    name,
    match: match(asked),
    ...target(),
    setMark: set.mark,
    ...(set.dscp === null ? {} : { setDscp: set.dscp }),
    location: files.locate(location),
  };
}

function match({ src, dst, fragment, not, ...rest }: Match): WireMatch {
  return {
    ...(rest as { -readonly [K in keyof typeof rest]: [...(typeof rest)[K]] }),
    src: src.map(prefix),
    dst: dst.map(prefix),
    fragment: fragment.map((state) => state.toUpperCase()),
    not: not.map(fieldName),
  };
}

/** Of the enumeration MatchField. */
export function fieldName(field: MatchField): string {
  return field === "icmpType" ? "ICMP_TYPE" : field.toUpperCase();
}

function flows({ files, subnets4, subnets6, exact4, exact6 }: Flows): WireFlows {
  return {
    files: [...files],
    subnets4: columns(subnets4),
    subnets6: columns(subnets6),
    exact4: columns(exact4),
    exact6: columns(exact6),
  };
}

/** Columns as bytes; the machines that this runs on are little endian, as BPF's are. */
function columns(of: FlowSubnets | ExactFlows): WireColumns | null {
  if (of.line.length === 0) return null;
  return Object.fromEntries(
    Object.entries(of).map(([name, { buffer, byteOffset, byteLength }]) => [
      name,
      new Uint8Array(buffer, byteOffset, byteLength),
    ]),
  );
}
