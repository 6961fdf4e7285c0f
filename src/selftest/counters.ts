/** One SA as `ip -s xfrm state list nokeys` shows it, with its counters since it was made. */
export interface SaCounters {
  src: string;
  dst: string;
  /** Host byte order. */
  spi: number;
  reqid: number;
  mode: string;
  /** 0 where the SA has none. */
  ifId: number;
  packets: number;
  bytes: number;
  replayErrors: number;
  /** Packets whose integrity check failed. */
  integrityErrors: number;
}

/** Parses `ip -s xfrm state list`. */
export function parseSaCounters(output: string): SaCounters[] {
  return output
    .split(/^(?=src )/m)
    .filter((block) => block.startsWith("src "))
    .map((block) => {
      const text = (pattern: RegExp) => block.match(pattern)?.[1] ?? "";
      const number = (pattern: RegExp) => Number(block.match(pattern)?.[1] ?? 0);
      return {
        src: text(/^src (\S+)/),
        dst: text(/^src \S+ dst (\S+)/),
        spi: number(/spi (0x[0-9a-f]+)/),
        reqid: number(/reqid (\d+)/),
        mode: text(/mode (\S+)/),
        ifId: number(/^\s+if_id (0x[0-9a-f]+)/m),
        packets: number(/lifetime current:\s+\d+\(bytes\), (\d+)\(packets\)/),
        bytes: number(/lifetime current:\s+(\d+)\(bytes\)/),
        replayErrors: number(/stats:\s+replay-window \d+ replay (\d+)/),
        integrityErrors: number(/stats:\s+replay-window \d+ replay \d+ failed (\d+)/),
      };
    });
}

/** Parses /proc/net/xfrm_stat (Documentation/networking/xfrm_proc.rst): counter name to value. */
export function parseXfrmStat(text: string): Record<string, number> {
  return Object.fromEntries(
    [...text.matchAll(/^(\w+)\s+(\d+)$/gm)].map(([, name, value]) => [name, Number(value)]),
  );
}

/** The entries of `after` that differ from `before`, as differences. */
export function counterDelta(
  before: Readonly<Record<string, number>>,
  after: Readonly<Record<string, number>>,
): Record<string, number> {
  const changed = Object.entries(after).map(([name, value]) => [name, value - (before[name] ?? 0)] as const);
  return Object.fromEntries(changed.filter(([, difference]) => difference !== 0));
}

/** rtnl_link_stats64 of one device, the counters that steering moves. */
export interface LinkCounters {
  rxPackets: number;
  rxErrors: number;
  rxDropped: number;
  txPackets: number;
  txErrors: number;
  txDropped: number;
  txCarrierErrors: number;
}

interface IpLinkJson {
  ifname: string;
  stats64: {
    rx: { packets: number; errors: number; dropped: number };
    tx: { packets: number; errors: number; dropped: number; carrier_errors: number };
  };
}

/** Parses `ip -j -s link show`: device name to counters. */
export function parseLinkCounters(json: string): Map<string, LinkCounters> {
  return new Map(
    (JSON.parse(json) as IpLinkJson[]).map(({ ifname, stats64: { rx, tx } }) => [
      ifname,
      {
        rxPackets: rx.packets,
        rxErrors: rx.errors,
        rxDropped: rx.dropped,
        txPackets: tx.packets,
        txErrors: tx.errors,
        txDropped: tx.dropped,
        txCarrierErrors: tx.carrier_errors,
      },
    ]),
  );
}
