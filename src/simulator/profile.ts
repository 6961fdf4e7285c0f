import { readdirSync } from "node:fs";
import { join } from "node:path";
import { parse } from "yaml";
import * as z from "zod";
import {
  FEATURES,
  type FeatureName,
  OFFLOAD_ERRNO,
  OPERATIONS,
  type Operation,
} from "../esp/offload/contract.js";
import { packageRoot } from "../sys/paths.js";
import { readRegular } from "../sys/regular-file.js";

/** A profile that cannot be used. The message names the file, the key and what would be right. */
export class ProfileError extends Error {
  override readonly name = "ProfileError";
}

const scalar = z.union([z.string(), z.number(), z.boolean()]);
const answer = z.strictObject({ errno: z.enum(OFFLOAD_ERRNO), reason: z.string().min(1) });

const STATE_PROPERTIES = [
  "direction",
  "type",
  "family",
  "mode",
  "suite",
  "encapsulation",
  "esn",
  "replayWindow",
  "reqid",
  "ifId",
  "tfcpad",
] as const;
const POLICY_PROPERTIES = ["direction", "reqid", "templates", "ifId"] as const;

/** A property of an SA or policy and the values that the driver takes, or does not, of it. */
function check<const P extends readonly [string, ...string[]]>(properties: P) {
  return answer
    .extend({
      property: z.enum(properties),
      allowed: z.array(scalar).optional(),
      forbidden: z.array(scalar).optional(),
      /** Asked only of an SA that has all these values. */
      when: z.partialRecord(z.enum(properties), scalar).optional(),
    })
    .refine(({ allowed, forbidden }) => (allowed === undefined) !== (forbidden === undefined), {
      error: "needs either `allowed` or `forbidden`",
    });
}
const stateCheck = check(STATE_PROPERTIES);
const policyCheck = check(POLICY_PROPERTIES);

const count = z
  .int()
  .min(0)
  .max(2 ** 24);
const base = z
  .int()
  .min(0)
  .max(2 ** 31);
/** One table for both directions, or one each. */
const tables = <T extends z.ZodType>(item: T) =>
  z.union(
    [z.strictObject({ shared: item }), z.strictObject({ in: item, out: item })],
    "needs `shared`, or `in` and `out`",
  );

const nic = z.strictObject({
  name: z.string().min(1),
  description: z.string().optional(),
  /** Driver or document that the limits are taken from. */
  source: z.string().min(1),
  features: z.array(z.enum(Object.keys(FEATURES) as [FeatureName, ...FeatureName[]])),
  operations: z.array(z.enum(OPERATIONS)),
  slots: tables(count),
  /** Handle of a table's first slot; from 1 on, one table behind the other, if left out. */
  handles: tables(base).optional(),
  /** Different addresses that inbound SAs may have. */
  addresses: count.optional(),
  /** When a slot is free again: as its SA is deleted, or once nothing refers to it. */
  release: z.enum(["delete", "free"]).default("delete"),
  trailer: z
    .strictObject({ transmit: z.enum(["stack", "device"]), receive: z.enum(["stack", "device"]) })
    .default({ transmit: "stack", receive: "stack" }),
  /** Packets under way at most, and how far one may be overtaken. Left out: done when handed over. */
  completion: z
    .strictObject({ depth: z.int().min(1).max(65536), window: z.int().min(1).max(1024) })
    .optional(),
  /** In the driver's order, before a slot is looked for. */
  checks: z.array(stateCheck).default([]),
  full: z.strictObject({
    in: answer.optional(),
    out: answer.optional(),
    shared: answer.optional(),
    addresses: answer.optional(),
  }),
  /** In the driver's order, after a slot was found. */
  keys: z.array(stateCheck).default([]),
  policies: z.array(policyCheck).default([]),
});

const bond = z.strictObject({
  name: z.string().min(1),
  description: z.string().optional(),
  source: z.string().min(1),
  /** Profiles of the two ports of an active-backup bond; the first is active. */
  bond: z.tuple([z.string(), z.string()]),
});

/** What has none of them is not quoted. */
const PROFILE_KEYS: ReadonlySet<string> = new Set([...Object.keys(nic.shape), ...Object.keys(bond.shape)]);

export type NicProfile = z.infer<typeof nic>;
export type StateCheck = z.infer<typeof stateCheck>;
export type Answer = z.infer<typeof answer>;

/** A device to simulate: one port, or the ports of a bond. All of it is data, and crosses threads. */
export interface Profile {
  readonly name: string;
  readonly description: string;
  readonly source: string;
  readonly bonded: boolean;
  /** One, or two of a bond, the active one first. */
  readonly ports: readonly [NicProfile, ...NicProfile[]];
}

const MAX_PROFILE_BYTES = 1 << 20;
const FOLDER = join(packageRoot, "src", "simulator", "profiles");

/** Names of the built-in profiles. */
export function profileNames(): string[] {
  return readdirSync(FOLDER)
    .map((file) => file.replace(/\.yaml$/, ""))
    .sort();
}

/**
 * Loads a built-in profile by its name, or one from a file (what has a "/" or ends in .yaml).
 * @throws ProfileError
 */
export function loadProfile(nameOrFile: string): Profile {
  const isFile = nameOrFile.includes("/") || nameOrFile.endsWith(".yaml");
  if (!isFile && !profileNames().includes(nameOrFile)) {
    throw new ProfileError(
      `there is no profile "${nameOrFile}"; take ${profileNames().join(", ")} or a YAML file of your own`,
    );
  }
  const file = isFile ? nameOrFile : join(FOLDER, `${nameOrFile}.yaml`);
  let text: string;
  try {
    text = readRegular(file, MAX_PROFILE_BYTES).toString("utf8");
  } catch (cause) {
    throw new ProfileError(`reading the profile ${file}: ${(cause as Error).message}`, { cause });
  }
  return parseProfile(text, file);
}

/** @param file for messages. @throws ProfileError */
export function parseProfile(text: string, file: string): Profile {
  let raw: unknown;
  try {
    raw = parse(text, { maxAliasCount: 100, prettyErrors: false });
  } catch (error) {
    // Behind the first colon some messages quote the source.
    throw new ProfileError(`${file}: YAML: ${(error as Error).message.replace(/: .*/s, "")}`, {
      cause: error,
    });
  }
  if (typeof raw !== "object" || raw === null || !Object.keys(raw).some((key) => PROFILE_KEYS.has(key)))
    throw new ProfileError(
      `${file}: this is no profile (nothing of it is shown); write a mapping with name, source, features`,
    );
  const bonded = "bond" in raw;
  if (bonded) {
    const { name, description = "", source, bond: names } = validated(bond, raw, file);
    const ports = names.map((port) => {
      const profile = loadProfile(port);
      if (profile.bonded)
        throw new ProfileError(`${file}: bond: ${port} is a bond itself; name two single ports`);
      return profile.ports[0];
    });
    return { name, description, source, bonded: true, ports: ports as [NicProfile, NicProfile] };
  }
  const profile = validated(nic, raw, file);
  checkDependencies(profile, file);
  const { name, description = "", source } = profile;
  return { name, description, source, bonded: false, ports: [profile] };
}

function validated<T extends z.ZodType>(schema: T, raw: unknown, file: string): z.infer<T> {
  const result = schema.safeParse(raw);
  if (result.success) return result.data;
  const issues = result.error.issues.map(({ path, message }) => `${path.join(".") || "profile"}: ${message}`);
  throw new ProfileError(`${file}: ${issues.join("; ")}`);
}

/** net/xfrm/xfrm_device.c, xfrm_api_check: the kernel refuses to register such a device. */
export function featureProblem(
  features: ReadonlySet<FeatureName>,
  operations: ReadonlySet<Operation>,
): string | null {
  if (features.has("esp-tx-csum-hw-offload") && !features.has("esp-hw-offload"))
    return "features: esp-tx-csum-hw-offload needs esp-hw-offload";
  if (features.has("esp-hw-offload") && !(operations.has("state_add") && operations.has("state_delete")))
    return "features: esp-hw-offload needs the operations state_add and state_delete";
  return null;
}

function checkDependencies(profile: NicProfile, file: string): void {
  const { features, operations, slots, handles, full, addresses } = profile;
  const problem = featureProblem(new Set(features), new Set(operations));
  if (problem !== null) throw new ProfileError(`${file}: ${problem}`);
  for (const table of Object.keys(slots) as (keyof typeof full)[]) {
    if (full[table] === undefined)
      throw new ProfileError(`${file}: full: needs what a full table \`${table}\` answers`);
    if (handles !== undefined && !(table in handles))
      throw new ProfileError(`${file}: handles: needs \`${table}\`, as slots has it`);
  }
  if ("in" in slots && handles !== undefined && "in" in handles) {
    const [inEnd, outEnd] = [handles.in + slots.in, handles.out + slots.out];
    if (handles.in < outEnd && handles.out < inEnd)
      throw new ProfileError(`${file}: handles: those of \`in\` and \`out\` overlap`);
  }
  if (addresses !== undefined && full.addresses === undefined)
    throw new ProfileError(`${file}: full: needs what a full address table answers (\`addresses\`)`);
}
