import { randomBytes } from "node:crypto";
import type { Namespace } from "./namespace.js";

export type XfrmMode = "tunnel" | "transport" | "beet";

/** One end of an ESP connection. */
export interface EspEnd {
  ns: Namespace;
  /** Outer address. */
  address: string;
  /** Key of its SAs and policies here; the ends may differ. Left out: none. */
  ifId?: number;
  /** Asks this device to do the crypto of its outgoing SA. */
  offload?: string;
  /** What its policies select on its own side; default everything of the connection's family. */
  selector?: string;
}

export interface EspConnection {
  a: EspEnd;
  b: EspEnd;
  mode?: XfrmMode;
  /** a to b has this SPI, b to a the next one. Host byte order. */
  spi: number;
  /** Shared by SAs and policies. Distinct for connections between the same addresses. */
  reqid: number;
  /** What the policies select; default 4. A tunnel may carry another family than its outer addresses'. */
  family?: 4 | 6;
  /** BEET: the fixed inner addresses that stand for the ends'. */
  inner?: { a: string; b: string };
}

interface Direction {
  from: EspEnd;
  to: EspEnd;
  spi: number;
  key: string;
  inner: { from: string; to: string } | undefined;
}

/** `xfrm state add` for a direction, with the if_id of the end that holds it. */
function state(connection: EspConnection, direction: Direction, holder: EspEnd): string {
  const { from, to, spi, key, inner } = direction;
  const mode = connection.mode ?? "tunnel";
  return [
    `xfrm state add src ${from.address} dst ${to.address} proto esp spi ${spi}`,
    `reqid ${connection.reqid} mode ${mode} replay-window 32`,
    holder.ifId === undefined ? "" : `if_id ${holder.ifId}`,
    // rfc4106: AES-128 key and 4 bytes of salt, 16 bytes of ICV.
    `aead rfc4106(gcm(aes)) ${key} 128`,
    // A tunnel that carries both families must not be bound to one by its selector's default.
    mode === "tunnel" ? "flag af-unspec" : "",
    inner ? `sel src ${inner.from} dst ${inner.to}` : "",
    holder.offload !== undefined && holder === from ? `offload dev ${holder.offload} dir out` : "",
  ].join(" ");
}

function policy(connection: EspConnection, direction: Direction, holder: EspEnd, dir: string): string {
  const { from, to, inner } = direction;
  const any = connection.family === 6 ? "::/0" : "0.0.0.0/0";
  const mode = connection.mode ?? "tunnel";
  // Transport mode takes its addresses from the packet.
  const template = mode === "transport" ? "" : `src ${from.address} dst ${to.address}`;
  return [
    `xfrm policy add src ${inner?.from ?? from.selector ?? any} dst ${inner?.to ?? to.selector ?? any} dir ${dir}`,
    holder.ifId === undefined ? "" : `if_id ${holder.ifId}`,
    `tmpl ${template} proto esp reqid ${connection.reqid} mode ${mode}`,
  ].join(" ");
}

/** Both directions, with fresh keys: a to b with this SPI, b to a with the next one. */
function directions(connection: EspConnection, spi: number): { aToB: Direction; bToA: Direction } {
  const { a, b, inner } = connection;
  const key = () => `0x${randomBytes(20).toString("hex")}`;
  return {
    aToB: { from: a, to: b, spi, key: key(), inner: inner && { from: inner.a, to: inner.b } },
    bToA: { from: b, to: a, spi: spi + 1, key: key(), inner: inner && { from: inner.b, to: inner.a } },
  };
}

/**
 * Installs the SAs (AES-128-GCM, random keys that are never shown) and policies of an ESP connection at both
 * ends by `ip xfrm`.
 */
export async function connectEsp(connection: EspConnection): Promise<void> {
  const { a, b, spi } = connection;
  const { aToB, bToA } = directions(connection, spi);
  for (const [end, out, back] of [
    [a, aToB, bToA],
    [b, bToA, aToB],
  ] as const) {
    const lines = [
      state(connection, out, end),
      state(connection, back, end),
      policy(connection, out, end, "out"),
      policy(connection, back, end, "in"),
      policy(connection, back, end, "fwd"),
    ];
    await end.ns.ip(lines.join("\n"));
  }
}

/**
 * Replaces a connection's SAs by new ones with the SPIs `spi` and the next one, as an IKE daemon does: each receiver
 * has the new SA before its sender, and keeps the old one until the sender has given it up (RFC 7296, section 2.8).
 * @returns the connection as it is now
 */
export async function rekeyEsp(connection: EspConnection, spi: number): Promise<EspConnection> {
  const { a, b } = connection;
  const { aToB, bToA } = directions(connection, spi);
  const remove = (from: EspEnd, to: EspEnd, old: number) =>
    `xfrm state delete src ${from.address} dst ${to.address} proto esp spi ${old}`;
  const removeAToB = remove(a, b, connection.spi);
  const removeBToA = remove(b, a, connection.spi + 1);
  await b.ns.ip(state(connection, aToB, b));
  await a.ns.ip([bToA, aToB].map((direction) => state(connection, direction, a)).join("\n"));
  await a.ns.ip(removeAToB);
  await b.ns.ip([state(connection, bToA, b), removeBToA, removeAToB].join("\n"));
  await a.ns.ip(removeBToA);
  return { ...connection, spi };
}
