/**
 * Completes a transport checksum that the stack left to the device (VIRTIO_NET_HDR_F_NEEDS_CSUM): the field already
 * holds the pseudo header's sum. A result of 0 becomes 0xffff, as in net/core/dev.c (skb_checksum_help).
 * @param start first byte of the checksummed part, `end` the byte behind it, `field` where the result goes
 */
export function completeChecksum(view: DataView, start: number, end: number, field: number): void {
  let sum = 0;
  let at = start;
  // Two 16-bit words at a time: ones' complement sums may be carried in wider words and folded last (RFC 1071).
  for (; at + 4 <= end; at += 4) sum += view.getUint32(at);
  if (at + 2 <= end) {
    sum += view.getUint16(at);
    at += 2;
  }
  if (at < end) sum += view.getUint8(at) << 8;
  // At most 2^14 words of 32 bits: exact in a double, but too wide for the integer operators before this step.
  let folded = Math.floor(sum / 2 ** 32) + (sum >>> 0);
  folded = (folded % 0x10000) + Math.floor(folded / 0x10000);
  folded = (folded & 0xffff) + (folded >>> 16);
  folded = (folded & 0xffff) + (folded >>> 16);
  view.setUint16(field, ~folded & 0xffff || 0xffff);
}
