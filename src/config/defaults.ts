import type { Source } from "./source.js";
import { childrenOf, type Place } from "./yaml-reader.js";

type Mapping = Record<string, unknown>;

/** What connections take that they do not say themselves, and where it is written. */
export interface Defaults {
  readonly value: Mapping;
  readonly place: Place;
}

/**
 * Fills the connections of a file in place from its own `defaults` and, behind those, from what the file that includes it
 * has. Mappings are filled key by key. `esp` only where the connection has one: keys have no defaults, so one out of
 * defaults alone would never be whole.
 *
 * @returns the defaults of this file and those around it together, for the files that it includes
 */
export function applyDefaults(source: Source, around: Defaults | null): Defaults | null {
  const own = mappingAt(source.value, source.root, "defaults");
  if (own !== null && around !== null) fill(own, around);
  const defaults = own ?? around;
  const connections = mappingAt(source.value, source.root, "connections");
  if (defaults === null) return null;
  // What has the wrong shape is cut out of this file's later: the others say the same of it.
  const handedDown = { value: copy(defaults.value) as Mapping, place: defaults.place };
  if (connections === null) return handedDown;
  for (const name of Object.keys(connections.value)) {
    const connection = mappingAt(connections.value, connections.place, name);
    if (connection !== null)
      fill(connection, defaults, Object.hasOwn(connection.value, "esp") ? [] : ["esp"]);
  }
  return handedDown;
}

function fill(target: Defaults, defaults: Defaults, except: readonly string[] = []): void {
  for (const [key, value] of Object.entries(defaults.value)) {
    const place = defaults.place.children?.get(key);
    if (value === undefined || place === undefined || except.includes(key)) continue;
    if (!Object.hasOwn(target.value, key)) {
      target.value[key] = copy(value);
      childrenOf(target.place).set(key, place);
      continue;
    }
    const own = mappingAt(target.value, target.place, key);
    if (own !== null && isMapping(value)) fill(own, { value, place });
  }
}

/** Copied, as what has the wrong shape is cut out of one connection later, and must stay in the others. */
function copy(value: unknown): unknown {
  if (!isMapping(value)) return value;
  return Object.assign(
    Object.create(null),
    Object.fromEntries(Object.entries(value).map(([key, each]) => [key, copy(each)])),
  );
}

function mappingAt(value: unknown, place: Place, key: string): Defaults | null {
  const found = isMapping(value) ? value[key] : undefined;
  const where = place.children?.get(key);
  return isMapping(found) && where !== undefined ? { value: found, place: where } : null;
}

function isMapping(value: unknown): value is Mapping {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
