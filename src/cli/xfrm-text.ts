/** SAD and SPD as `ip -s xfrm state` and `ip xfrm policy` print them (iproute2, ip/ipxfrm.c), keys hidden. */
import type { KeptEvent, Named } from "../backends/userspace/databases.js";
import { formatPrefix } from "../config/address.js";
import type { Limits, Selector, ShownPolicy, ShownState } from "../esp/index.js";

const HIDDEN = "<<Keys hidden>>";

/** Each suite under the names of the kernel's crypto API (net/xfrm/xfrm_algo.c), with its ICV in bits. */
const ALGORITHMS: Readonly<Record<ShownState["suite"], readonly string[]>> = {
  "aes128-gcm": [`aead rfc4106(gcm(aes)) ${HIDDEN} 128`],
  "aes192-gcm": [`aead rfc4106(gcm(aes)) ${HIDDEN} 128`],
  "aes256-gcm": [`aead rfc4106(gcm(aes)) ${HIDDEN} 128`],
  "chacha20-poly1305": [`aead rfc7539esp(chacha20,poly1305) ${HIDDEN} 128`],
  "aes128-cbc-sha1": withHmac("cbc(aes)", "sha1", 96),
  "aes128-cbc-sha256": withHmac("cbc(aes)", "sha256", 128),
  "aes128-cbc-sha384": withHmac("cbc(aes)", "sha384", 192),
  "aes128-cbc-sha512": withHmac("cbc(aes)", "sha512", 256),
  "aes192-cbc-sha1": withHmac("cbc(aes)", "sha1", 96),
  "aes192-cbc-sha256": withHmac("cbc(aes)", "sha256", 128),
  "aes192-cbc-sha384": withHmac("cbc(aes)", "sha384", 192),
  "aes192-cbc-sha512": withHmac("cbc(aes)", "sha512", 256),
  "aes256-cbc-sha1": withHmac("cbc(aes)", "sha1", 96),
  "aes256-cbc-sha256": withHmac("cbc(aes)", "sha256", 128),
  "aes256-cbc-sha384": withHmac("cbc(aes)", "sha384", 192),
  "aes256-cbc-sha512": withHmac("cbc(aes)", "sha512", 256),
  "null-sha1": withHmac("ecb(cipher_null)", "sha1", 96),
  "null-sha256": withHmac("ecb(cipher_null)", "sha256", 128),
  "null-sha384": withHmac("ecb(cipher_null)", "sha384", 192),
  "null-sha512": withHmac("ecb(cipher_null)", "sha512", 256),
};

function withHmac(cipher: string, digest: string, icvBits: number): string[] {
  return [`auth-trunc hmac(${digest}) ${HIDDEN} ${icvBits}`, `enc ${cipher} ${HIDDEN}`];
}

const hex = (value: number): string => `0x${value.toString(16).padStart(8, "0")}`;
const limit = (value: number | undefined): string => (value === undefined ? "(INF)" : String(value));

export function formatState(state: ShownState): string {
  const { source, destination, spi, mode, direction, replayWindow, esn, lifetime, stage } = state;
  const counted =
    direction === "in" ? `seq ${hexOf(state.sequence)}, oseq 0x0` : `seq 0x0, oseq ${hexOf(state.sequence)}`;
  const limits = (unit: keyof Limits) =>
    `limit: soft ${limit(lifetime.soft?.[unit])}(${unit}), hard ${limit(lifetime.hard?.[unit])}(${unit})`;
  const expire = `expire add: soft ${lifetime.soft?.seconds ?? 0}(sec), hard ${lifetime.hard?.seconds ?? 0}(sec)`;
  return [
    `src ${source} dst ${destination}`,
    `\tproto esp spi ${hex(spi)}(${spi}) reqid 0 mode ${mode}`,
    `\treplay-window ${replayWindow}${esn ? " flag esn" : ""}`,
    ...ALGORITHMS[state.suite].map((line) => `\t${line}`),
    ...(state.encapsulation === "udp"
      ? [`\tencap type espinudp sport ${state.sourcePort} dport ${state.destinationPort} addr 0.0.0.0`]
      : []),
    `\tanti-replay context: ${counted}`,
    ...(state.inner === null
      ? []
      : [`\tsel src ${host(state.inner.source)} dst ${host(state.inner.destination)}`]),
    ...(state.padTo === 0 ? [] : [`\ttfcpad ${state.padTo}`]),
    `\tif_id 0x${state.ifId.toString(16)}`,
    `\tdir ${direction}`,
    "\tlifetime config:",
    `\t  ${limits("bytes")}`,
    `\t  ${limits("packets")}`,
    `\t  ${expire}`,
    "\tlifetime current:",
    `\t  ${state.bytes}(bytes), ${state.packets}(packets)`,
    `\t  add ${new Date(state.added).toISOString()}`,
    ...(stage === "valid" ? [] : [`\t  expired: ${stage}`]),
  ].join("\n");
}

const hexOf = (value: number): string => `0x${value.toString(16)}`;
const host = (address: string): string => `${address}/${address.includes(":") ? 128 : 32}`;

export function formatPolicy(policy: ShownPolicy): string {
  const { direction, priority, action, template, ifId } = policy;
  return families(policy.selector)
    .flatMap((any) => [
      `src ${side(policy.selector.source, any)} dst ${side(policy.selector.destination, any)}${upper(policy.selector)}`,
      `\tdir ${direction} action ${action} priority ${priority}`,
      ...(template === null
        ? []
        : [
            `\ttmpl src ${template.source} dst ${template.destination}`,
            `\t\tproto esp reqid 0 mode ${template.mode}`,
          ]),
      `\tif_id 0x${ifId.toString(16)}`,
    ])
    .join("\n");
}

/** The kernel has a policy for each family. */
function families({ source, destination }: Selector): string[] {
  const family = source?.family ?? destination?.family;
  if (family === undefined) return ["0.0.0.0/0", "::/0"];
  return [family === 4 ? "0.0.0.0/0" : "::/0"];
}

const side = (prefix: Selector["source"], any: string): string =>
  prefix === null ? any : formatPrefix(prefix);

function upper({ protocol, sourcePort, destinationPort }: Selector): string {
  const port = (name: string, range: Selector["sourcePort"]) =>
    range === null ? "" : ` ${name} ${range.from === range.to ? range.from : `${range.from}-${range.to}`}`;
  return `${protocol === null ? "" : ` proto ${protocol}`}${port("sport", sourcePort)}${port("dport", destinationPort)}`;
}

/** As `ip xfrm monitor` tells of an expire message. */
export function formatEvent({ time, connection, spi, direction, limit, ifId }: Named<KeptEvent>): string {
  const hard = limit === "hard" ? 1 : 0;
  return `${time} expire ${connection} proto esp spi ${hex(spi)} dir ${direction} if_id 0x${ifId.toString(16)} hard ${hard}`;
}
