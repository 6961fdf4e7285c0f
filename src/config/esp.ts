import path from "node:path";
import { endpointProblems, outerProblems } from "../esp/endpoints.js";
import type { Limits } from "../esp/lifetime.js";
import type { Mode } from "../esp/packet.js";
import { parseAddress as parseSockaddr } from "../sys/sockaddr.js";
import { type Address, formatAddress, parseAddress } from "./address.js";
import { seenFrom, show } from "./diagnostics.js";
import type { EspConfig, KeySource, Location, SaConfig } from "./policy.js";
import type { RawPolicy } from "./schema.js";
import type { Partly } from "./shape.js";
import type { Path } from "./source.js";
import type { Context } from "./values.js";

type RawEsp = Partly<NonNullable<NonNullable<RawPolicy["connections"]>[string]["esp"]>>;

/** IANA's port for ESP in UDP (RFC 3948). */
const NAT_T_PORT = 4500;
const REPLAY_WINDOW = 1024;

/** Where each (SPI, local address) of an inbound SA and each key source was first written. */
export interface KnownEsp {
  readonly inbound: Map<string, Location>;
  readonly keys: Map<string, Location>;
}

/** Reads the esp blocks of a file; what must be unique is remembered from one to the next. */
export class EspReader {
  readonly #context: Context;
  readonly #inbound: KnownEsp["inbound"];
  readonly #keys: KnownEsp["keys"];

  constructor(context: Context, { inbound, keys }: KnownEsp) {
    this.#context = context;
    this.#inbound = inbound;
    this.#keys = keys;
  }

  /**
   * Null when a part is missing or wrong; that has been reported then.
   * @param hasLink whether the connection names the device that its outer addresses are on
   */
  read(raw: RawEsp, at: Path, hasLink: boolean): EspConfig | null {
    const { source, report } = this.#context;
    const local = this.#address(raw.local, [...at, "local"]);
    const remote = this.#address(raw.remote, [...at, "remote"]);
    if (local !== null && remote !== null && local.family !== remote.family) {
      report.error(
        source.at([...at, "remote"]),
        `remote ${raw.remote} is IPv${remote.family} and local ${raw.local} is IPv${local.family}`,
        "write two addresses of one family",
      );
    } else if (local !== null && remote !== null)
      this.#reportEnds(outerProblems({ local: parsed(local), remote: parsed(remote) }, hasLink), at);
    const out = this.#sa(raw.out, [...at, "out"]);
    const inbound = this.#sa(raw.in, [...at, "in"]);
    const alsoIn = (raw.also_in ?? []).map((sa, index) => this.#sa(sa, [...at, "also_in", index]));
    if (local !== null) {
      this.#uniqueSpi(raw.in, local, [...at, "in"]);
      for (const [index, sa] of (raw.also_in ?? []).entries())
        this.#uniqueSpi(sa, local, [...at, "also_in", index]);
    }
    const mode = raw.mode ?? "tunnel";
    const inner = this.#inner(raw, mode, at);
    if (mode !== "tunnel" && (raw.pad_to ?? 0) > 0)
      report.error(
        source.at([...at, "pad_to"]),
        `${mode} mode has no padding: only an inner IP header tells where the packet ends`,
        "leave pad_to out (RFC 4303 section 2.7)",
      );
    if (local === null || remote === null || out === null || inbound === null || raw.suite === undefined)
      return null;
    return {
      mode,
      inner,
      encapsulation: raw.encapsulation ?? "udp",
      local: formatAddress(local),
      remote: formatAddress(remote),
      localPort: raw.local_port ?? NAT_T_PORT,
      remotePort: raw.remote_port ?? NAT_T_PORT,
      suite: raw.suite,
      out,
      in: inbound,
      alsoIn: alsoIn.filter((sa) => sa !== null),
      esn: raw.esn ?? false,
      replayWindow: raw.replay_window ?? REPLAY_WINDOW,
      padTo: raw.pad_to ?? 0,
      lifetime: { ...limits("soft", raw), ...limits("hard", raw) },
      offload: offload(raw),
    };
  }

  #inner(raw: RawEsp, mode: Mode, at: Path): EspConfig["inner"] {
    const { source, report } = this.#context;
    if (mode !== "beet") {
      if (raw.inner !== undefined)
        report.error(
          source.at([...at, "inner"]),
          `${mode} mode has no inner addresses of its own`,
          "leave inner out, or write mode: beet",
        );
      return null;
    }
    if (raw.inner === undefined) {
      report.error(
        source.at([...at, "mode"]),
        "BEET sends no inner addresses: both ends have to know them",
        "write inner: {local: 10.0.0.1, remote: 10.1.0.1}",
      );
      return null;
    }
    const local = this.#address(raw.inner.local, [...at, "inner", "local"]);
    const remote = this.#address(raw.inner.remote, [...at, "inner", "remote"]);
    if (local === null || remote === null) return null;
    if (local.family !== remote.family)
      report.error(
        source.at([...at, "inner", "remote"]),
        `remote ${raw.inner.remote} is IPv${remote.family} and local ${raw.inner.local} is IPv${local.family}`,
        "write two addresses of one family",
      );
    else
      this.#reportEnds(endpointProblems({ local: parsed(local), remote: parsed(remote) }), [...at, "inner"]);
    return { local: formatAddress(local), remote: formatAddress(remote) };
  }

  #reportEnds(problems: ReturnType<typeof endpointProblems>, at: Path): void {
    const { source, report } = this.#context;
    for (const { end, message, hint } of problems) report.error(source.at([...at, end]), message, hint);
  }

  #uniqueSpi(sa: RawEsp["in"], local: Address, at: Path): void {
    if (sa?.spi === undefined) return;
    this.#unique(
      this.#inbound,
      `${sa.spi} ${formatAddress(local)}`,
      this.#context.source.at([...at, "spi"]),
      `the SPI 0x${sa.spi.toString(16)} is already that of another inbound SA at ${formatAddress(local)}`,
      "give each inbound SA of one local address its own SPI",
    );
  }

  #address(text: string | undefined, at: Path): Address | null {
    if (text === undefined) return null;
    const address = parseAddress(text);
    if (address === null) {
      const { source, report } = this.#context;
      report.error(
        source.at(at),
        `${show(text)} is not an IP address`,
        'write one such as 192.0.2.1 or, in quotes, "2001:db8::1"',
      );
    }
    return address;
  }

  #sa(raw: RawEsp["out"], at: Path): SaConfig | null {
    const key = raw?.key === undefined ? null : this.#key(raw.key, [...at, "key"]);
    return key === null || raw?.spi === undefined ? null : { spi: raw.spi, key };
  }

  #key(text: string, at: Path): KeySource | null {
    const { source, report } = this.#context;
    const location = source.at(at);
    const [, kind, rest = ""] = /^(file|env):(.+)$/.exec(text) ?? [];
    if (kind === undefined || (kind === "env" && !/^[A-Za-z_]\w*$/.test(rest))) {
      report.error(
        location,
        "the key does not name a source (its text is not shown, as it may be a key)",
        "write key: file:PATH or key: env:NAME and keep the key there",
      );
      return null;
    }
    const key: KeySource =
      kind === "env"
        ? { kind, name: rest, location }
        : { kind: "file", path: path.resolve(path.dirname(source.file), rest), location };
    this.#unique(
      this.#keys,
      key.kind === "env" ? `env:${key.name}` : `file:${key.path}`,
      location,
      "this key source is already that of another SA",
      "give each SA its own key: two SAs with one key repeat nonces (RFC 4106 section 3.1)",
    );
    return key;
  }

  #unique(known: Map<string, Location>, id: string, location: Location, message: string, hint: string): void {
    const first = known.get(id);
    if (first === undefined) known.set(id, location);
    else this.#context.report.error(location, `${message} (${seenFrom(location, first)})`, hint);
  }
}

/** As the engine has it, which knows what it can serve. */
const parsed = (address: Address) => parseSockaddr(formatAddress(address));

/** The device is looked for when the policy is applied: the schema has checked the rest. */
function offload({ offload: asked }: RawEsp): EspConfig["offload"] {
  if (asked?.device === undefined) return null;
  return { device: asked.device, type: asked.mode ?? "crypto", required: asked.required ?? false };
}

function limits(which: "soft" | "hard", { lifetime }: RawEsp): { soft?: Limits; hard?: Limits } {
  const { packets, bytes, seconds } = lifetime?.[which] ?? {};
  const given = {
    ...(packets === undefined ? {} : { packets }),
    ...(bytes === undefined ? {} : { bytes }),
    ...(seconds === undefined ? {} : { seconds }),
  };
  return Object.keys(given).length === 0 ? {} : { [which]: given };
}
