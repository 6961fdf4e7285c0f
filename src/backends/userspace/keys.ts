import { type Policy, readKey, type SaConfig } from "../../config/index.js";
import { allSas } from "../../config/keys.js";
import { secretBytes } from "../../sys/secrets.js";

/** Keying material of a connection's SAs. Whoever gave or got it overwrites it once the ciphers have it. */
export interface ConnectionKeys {
  readonly connection: string;
  readonly out: Uint8Array;
  readonly in: Uint8Array;
  readonly alsoIn: readonly Uint8Array[];
}

/** Sizes of a connection's keys in bytes, in the order in which they stand one behind the other. */
export interface KeyLayout {
  readonly connection: string;
  readonly out: number;
  readonly in: number;
  readonly alsoIn: readonly number[];
}

/** Opens every key of a policy; the caller wipes them. @throws KeyError, with none left */
export function readKeys(policy: Policy): ConnectionKeys[] {
  const read: ConnectionKeys[] = [];
  try {
    for (const { name, esp } of policy.connections) {
      if (!esp) continue;
      const keys: Uint8Array[] = [];
      // First, so that what was read is wiped where the next cannot be.
      const own = { connection: name, out: NONE, in: NONE, alsoIn: keys };
      read.push(own);
      for (const sa of allSas(esp)) keys.push(readKey((sa as SaConfig).key, esp.suite));
      const [out = NONE, inbound = NONE, ...alsoIn] = keys;
      read[read.length - 1] = { connection: name, out, in: inbound, alsoIn };
    }
    return read;
  } catch (error) {
    wipeConnectionKeys(read);
    throw error;
  }
}

const NONE = new Uint8Array(0);

export function wipeConnectionKeys(keys: readonly ConnectionKeys[]): void {
  for (const each of keys) for (const key of [each.out, each.in, ...each.alsoIn]) key.fill(0);
}

/** All keys one behind the other, in memory of their own, and where each is; those given are wiped. */
export function packKeys(keys: readonly ConnectionKeys[]): { layout: KeyLayout[]; bytes: Uint8Array } {
  const all = keys.flatMap((each) => [each.out, each.in, ...each.alsoIn]);
  const bytes = secretBytes(all.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const key of all) {
    bytes.set(key, at);
    at += key.length;
  }
  wipeConnectionKeys(keys);
  const layout = keys.map((each) => ({
    connection: each.connection,
    out: each.out.length,
    in: each.in.length,
    alsoIn: each.alsoIn.map(({ length }) => length),
  }));
  return { layout, bytes };
}

/** The keys of a layout, as views of the same memory. @throws RangeError where there are more or fewer bytes */
export function unpackKeys(layout: readonly KeyLayout[], bytes: Uint8Array): ConnectionKeys[] {
  let at = 0;
  const next = (size: number): Uint8Array => {
    at += size;
    return bytes.subarray(at - size, at);
  };
  const keys = layout.map((each) => ({
    connection: each.connection,
    out: next(each.out),
    in: next(each.in),
    alsoIn: each.alsoIn.map(next),
  }));
  if (at !== bytes.length)
    throw new RangeError(`${bytes.length} bytes of keys came, and ${at} were announced`);
  return keys;
}
