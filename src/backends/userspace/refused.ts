import type { BpfMap } from "libbpf-ts";

/** Frames that tun_ingress did not let in, under the names that status gives them. */
export interface Refused {
  readonly rxNoShim: number;
  readonly rxOtherEpoch: number;
}

/** Reads xfrm_steer_refused of bpf/tun_ingress.bpf.c, summed over CPUs, and adds it to what there was before. */
export function readRefused(map: BpfMap, before: Refused | null): Refused {
  const sum = (refusal: number): number => {
    const bytes = map.lookup(refusal) as Uint8Array | undefined;
    if (bytes === undefined) return 0;
    const words = new BigUint64Array(Uint8Array.from(bytes).buffer);
    return Number(words.reduce((total, packets) => total + packets, 0n));
  };
  return {
    rxNoShim: sum(0) + (before?.rxNoShim ?? 0),
    rxOtherEpoch: sum(1) + (before?.rxOtherEpoch ?? 0),
  };
}
