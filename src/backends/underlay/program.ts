import { type BpfMap, BpfObject, codec, features, type TypeModel } from "libbpf-ts";
import { Counter, UnderlayIngressObject, type UnderlayIngressObjectTypes } from "../../bpf/underlay.bpf.js";
import type { UnderlayTables } from "../../compiler/underlay.js";
import { bpfObjectPath } from "../../sys/paths.js";
import { prefixTrie } from "../classifier.js";
import { NO_TRAFFIC, type Traffic } from "../counters.js";

export const PROGRAM = "underlay_ingress";
export const DROPS = "underlay_drops";

/**
 * Loads the program that refuses plaintext; it is attached to nothing yet. The caller closes the object.
 *
 * @param drops counters of the program before, which go on
 * @throws VerifierError, MissingRightsError and the other errors of libbpf-ts
 */
export function loadUnderlay(tables: UnderlayTables, drops: BpfMap | null = null): BpfObject {
  const object = BpfObject.open(bpfObjectPath("underlay"), {
    sections: new Map([
      [".rodata.trie4", tables.trie4],
      [".rodata.trie6", tables.trie6],
    ]),
  });
  try {
    const set = <Name extends keyof Constants & string>(name: Name, value: Constants[Name]) =>
      object.rodata.set(name, codec(UnderlayIngressObject.model.rodata[name] as TypeModel).encode(value));
    set("subnets4", prefixTrie(tables.subnets4));
    set("subnets6", prefixTrie(tables.subnets6));
    // A kernel without CONFIG_XFRM knows neither the helper nor SAs: the verifier does not look at what is never called.
    set("has_secpath", features.helper("skb_get_xfrm_state") ? 1 : 0);
    object.rodata.set("open_ports", tables.openPorts);
    if (drops) object.map(DROPS).reuse(drops);
    object.load();
    return object;
  } catch (error) {
    object.close();
    throw error;
  }
}

type Constants = UnderlayIngressObjectTypes["rodata"];

/** Sum over CPUs. */
export function readDrops(map: BpfMap): Traffic {
  return (map.lookupPerCpu(0) ?? [])
    .map((bytes) => Counter.decode(bytes))
    .reduce(
      (sum, { packets, bytes }) => ({
        packets: sum.packets + Number(packets),
        bytes: sum.bytes + Number(bytes),
      }),
      NO_TRAFFIC,
    );
}
