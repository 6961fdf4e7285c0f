/** DSCP and ECN across a tunnel: RFC 4301 section 5.1.2 and RFC 6040 section 4, the tunnel in its normal mode. */
import { fold16 } from "../sys/packet-slab.js";
import * as ip from "./headers.js";

const ECN_MASK = 3;
const NOT_ECT = 0;
const ECT_0 = 2;
const CE = 3;

/** Type of service or traffic class of the IP packet at `packet`: DSCP in its upper 6 bits, ECN in its lower 2. */
export function trafficClass(view: DataView, packet: number): number {
  return view.getUint8(packet) >>> 4 === 6
    ? (view.getUint16(packet) >>> 4) & 0xff
    : view.getUint8(packet + ip.IPV4_TOS);
}

/** Whether outer packets with this type of service or traffic class may change the inner ones, or have them dropped. */
export const marksCongestion = (outer: number): boolean => {
  const ecn = outer & ECN_MASK;
  return ecn !== NOT_ECT && ecn !== ECT_0;
};

/**
 * Takes the congestion mark of the outer packet over to the inner one at `packet` (RFC 6040 figure 4).
 * @param outer type of service or traffic class
 * @returns false when the packet is to be dropped: congestion was met, and the sender would never learn of it
 */
export function decapsulateEcn(view: DataView, packet: number, outer: number): boolean {
  const outerEcn = outer & ECN_MASK;
  if (!marksCongestion(outer)) return true;
  const inner = trafficClass(view, packet);
  const ecn = inner & ECN_MASK;
  if (ecn === NOT_ECT) return outerEcn !== CE;
  if (outerEcn === CE ? ecn !== CE : ecn === ECT_0)
    setTrafficClass(view, packet, (inner & ~ECN_MASK) | outerEcn);
  return true;
}

function setTrafficClass(view: DataView, packet: number, value: number): void {
  const before = view.getUint16(packet);
  if (before >>> 12 === 6) {
    view.setUint16(packet, (before & 0xf00f) | (value << 4));
    return;
  }
  view.setUint8(packet + ip.IPV4_TOS, value);
  // RFC 1624, equation 3.
  const sum =
    (~view.getUint16(packet + ip.IPV4_CHECKSUM) & 0xffff) + (~before & 0xffff) + view.getUint16(packet);
  view.setUint16(packet + ip.IPV4_CHECKSUM, ~fold16(sum) & 0xffff);
}
