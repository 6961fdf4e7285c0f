import type { BuiltProgram, ProgramConfig, ProgramMapEntry } from "../../config/policy.js";

/** message Program of schemas/steering.proto. */
export interface WireProgram {
  file: string;
  constants: { name: string; values: string[] }[];
  maps: ProgramMapEntry[];
  built: WireBuilt | null;
}

interface WireBuilt {
  object: Uint8Array;
  constants: { name: string; bytes: Uint8Array }[];
  maps: { map: string; key: Uint8Array; value: Uint8Array }[];
}

export function programToWire({ file, constants, maps, built }: ProgramConfig): WireProgram {
  return {
    file,
    constants: Object.entries(constants).map(([name, values]) => ({ name, values: [...values] })),
    maps: [...maps],
    built: built && builtToWire(built),
  };
}

export function programFromWire({ file, constants, maps, built }: WireProgram): ProgramConfig {
  return {
    file,
    constants: Object.fromEntries(constants.map(({ name, values }) => [name, values])),
    maps: maps.map(({ map, key, value }) => ({ map, key: [...key], value: [...value] })),
    built: built && builtFromWire(built),
  };
}

function builtToWire({ object, constants, maps }: BuiltProgram): WireBuilt {
  return {
    object: bytes(object),
    constants: constants.map(({ name, bytes: of }) => ({ name, bytes: bytes(of) })),
    maps: maps.map(({ map, key, value }) => ({ map, key: bytes(key), value: bytes(value) })),
  };
}

function builtFromWire({ object, constants, maps }: WireBuilt): BuiltProgram {
  return {
    object: base64(object),
    constants: constants.map(({ name, bytes: of }) => ({ name, bytes: base64(of) })),
    maps: maps.map(({ map, key, value }) => ({ map, key: base64(key), value: base64(value) })),
  };
}

const bytes = (text: string): Uint8Array => Buffer.from(text, "base64");
const base64 = (of: Uint8Array): string => Buffer.from(of).toString("base64");
