/** Runs the deciding half in the kernel over one packet, as on a device with Ethernet headers. */
import type { BpfObject } from "libbpf-ts";

export const ETHERNET = 14;
/** Local experimental EtherType (linux/if_ether.h). */
const ETH_P_802_EX1 = 0x88b5;

/** Offsets in struct __sk_buff (linux/bpf.h). */
const SKB = { size: 192, mark: 8, ingressIfindex: 36, cb: 48 } as const;

/** What travels beside the bytes. */
export interface Beside {
  readonly mark: number;
  /** 0: made on this host. */
  readonly ifindex: number;
  /** Of a packet that came in. */
  readonly ifId?: number;
}

/** @param object steer_test, loaded with `l3Offset: ETHERNET` */
export function runPacket(
  object: BpfObject,
  program: "run_decide" | "run_admit",
  packet: Uint8Array,
  { mark, ifindex, ifId = 0 }: Beside,
) {
  const data = new Uint8Array(ETHERNET + packet.length);
  // The kernel refuses test runs of IP packets that are cut off; the programs go by the version in the header anyway.
  new DataView(data.buffer).setUint16(12, ETH_P_802_EX1);
  data.set(packet, ETHERNET);
  const ctx = new Uint8Array(SKB.size);
  const view = new DataView(ctx.buffer);
  view.setUint32(SKB.mark, mark, true);
  view.setUint32(SKB.ingressIfindex, ifindex, true);
  view.setUint32(SKB.cb, ifId, true);
  const ctxOut = new Uint8Array(SKB.size);
  const { retval, dataOut } = object.program(program).testRun({ data, ctx, ctxOut, dataOut: data.length });
  return {
    verdict: retval,
    mark: new DataView(ctxOut.buffer).getUint32(SKB.mark, true),
    packet: Buffer.from(dataOut.subarray(ETHERNET)),
  };
}

/** Metadata that the last packet was given. */
export function decided(object: BpfObject): { ifId: number; link: number } {
  const bytes = object.bss.get("decided") as Buffer;
  return { ifId: bytes.readUInt32LE(0), link: bytes.readInt32LE(4) };
}
