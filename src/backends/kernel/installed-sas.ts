import { ip } from "../../sys/ip.js";

/**
 * The SAs of the calling thread's network namespace by their if_id; what tells one from another is its protocol, SPI and addresses.
 * Keys are not asked for.
 *
 * @throws IpError
 */
export function installedSas(): Map<number, string[]> {
  return parseSas(ip("xfrm", "state", "list", "nokeys"));
}

/** @param text of `ip xfrm state list` */
export function parseSas(text: string): Map<number, string[]> {
  const sas = new Map<number, string[]>();
  for (const block of text.split(/^(?=src )/m)) {
    const [, src, dst, proto, spi] = /^src (\S+) dst (\S+)\s+proto (\S+) spi (0x[0-9a-f]+)/.exec(block) ?? [];
    const ifId = Number(/^\s+if_id (0x[0-9a-f]+)/m.exec(block)?.[1] ?? 0);
    // SPI 0 is no SA: the kernel has asked the IKE daemon for one.
    if (spi === undefined || Number(spi) === 0 || ifId === 0) continue;
    const list = sas.get(ifId) ?? [];
    list.push(`${proto} ${spi} from ${src} to ${dst}`);
    sas.set(ifId, list);
  }
  return sas;
}
