import { parseAddress } from "../sys/sockaddr.js";
import type { SimulatedNic } from "./nic.js";

/** What the driver was given of an SA's key: the AES key and the salt behind it. */
export type KeyLookup = (spi: number) => Uint8Array | null;

/**
 * A port's table in the form of netdevsim's debugfs file (drivers/net/netdevsim/ipsec.c, nsim_dbg_netdev_ops_read).
 * @param keys where to take keys from; the simulator keeps none. Left out, their digits are shown as "-": for a key that
 * is published, as the kernel's selftest has one, they may be asked for.
 */
export function textView(nic: SimulatedNic, keys: KeyLookup = () => null): string {
  const slots = [...nic.slots()];
  const lines = [`SA count=${slots.length} tx=${nic.transmitted}`];
  for (const [index, { state }] of slots) {
    const inbound = state.direction === "in";
    const key = keys(state.spi);
    const word = (at: number): string => (key === null ? "-".repeat(8) : hex(littleEndian(key, at)));
    lines.push(
      `sa[${index}] ${inbound ? "r" : "t"}x ipaddr=0x${(inbound ? words(state.destination) : [0, 0, 0, 0]).map(hex).join(" ")}`,
      // IPPROTO_ESP
      `sa[${index}]    spi=0x${hex(state.spi)} proto=0x32 salt=0x${word(16)} crypt=1`,
      `sa[${index}]    key=0x${[0, 4, 8, 12].map(word).join(" ")}`,
    );
  }
  return `${lines.join("\n")}\n`;
}

const hex = (value: number): string => value.toString(16).padStart(8, "0");

const littleEndian = (bytes: Uint8Array, at: number): number =>
  new DataView(bytes.buffer, bytes.byteOffset).getUint32(at, true);

/** The four words of an address as the driver prints them: network order read as the CPU's; IPv4 in the last. */
function words(address: string): number[] {
  const { bytes } = parseAddress(address);
  const all = Array.from({ length: bytes.length / 4 }, (_, index) => littleEndian(bytes, 4 * index));
  return all.length === 1 ? [0, 0, 0, ...all] : all;
}
