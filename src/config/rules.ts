import { show } from "./diagnostics.js";
import { SET_NOTHING } from "./match.js";
import { readMatch } from "./match-reader.js";
import { NAME_HINT, NAME_PATTERN } from "./names.js";
import type { Rule, SetFields, Target } from "./policy.js";
import { DSCP_NAMES, dscpNumber } from "./protocols.js";
import type { RawPolicy } from "./schema.js";
import type { Partly, PartlyRaw } from "./shape.js";
import type { Path } from "./source.js";
import { readTarget } from "./target.js";
import { type Context, readMark, readNumber } from "./values.js";

type RawSet = Partly<NonNullable<NonNullable<RawPolicy["rules"]>[number]["set"]>>;

/** A rule as far as it could be read; `complete` when nothing of it is missing. */
export interface ReadRule extends Rule {
  readonly complete: boolean;
  /** Index in the policy's list. */
  readonly index: number;
}

/** What the rules of all files of a policy share. */
export interface RuleNames {
  /** Of the connections. */
  readonly targets: ReadonlySet<string>;
  /** Of the rules so far, and where each stands. */
  readonly taken: Map<string, string>;
  /** Rules so far. */
  count: number;
}

/** Reads a file's rules. A rule whose target is unknown is left out; a part of a match that is wrong matches anything. */
export function readRules(
  raw: PartlyRaw["rules"],
  misshapen: ReadonlySet<number>,
  names: RuleNames,
  context: Context,
): ReadRule[] {
  const { source, report } = context;
  const rules: ReadRule[] = [];
  for (const [index, rule = {}] of (raw ?? []).entries()) {
    const at: Path = ["rules", index];
    const errors = report.errors;
    const number = ++names.count;
    const name = rule.name ?? `rule-${number}`;
    checkName(name, number, at, names.taken, context);
    const match = readMatch(rule.match ?? {}, [...at, "match"], context);
    const to = rule.to === undefined ? null : readTarget(rule.to, names.targets, [...at, "to"], context);
    const set = rule.set === undefined ? SET_NOTHING : readSet(rule.set, to, [...at, "set"], context);
    if (to !== null)
      rules.push({
        name,
        match,
        to,
        set,
        location: source.at(at),
        complete: report.errors === errors && !misshapen.has(index),
        index: number - 1,
      });
  }
  return rules;
}

function checkName(
  name: string,
  number: number,
  at: Path,
  taken: Map<string, string>,
  { source, report }: Context,
): void {
  const location = source.at([...at, "name"]);
  const first = taken.get(name);
  if (!NAME_PATTERN.test(name)) {
    report.error(location, `${show(name)} is not a valid rule name`, NAME_HINT);
  } else if (first !== undefined) {
    report.error(
      location,
      `the rule name ${name} is already that of ${first}`,
      "give each rule its own name",
    );
  } else taken.set(name, `rule ${number}`);
}

function readSet(raw: RawSet, to: Target | null, at: Path, context: Context): SetFields {
  if (to?.kind === "drop")
    context.report.warning(
      context.source.at(at),
      "set does nothing, as the rule drops its packets",
      "remove set",
    );
  return {
    mark: raw.mark === undefined ? null : readMark(raw.mark, [...at, "mark"], context),
    dscp:
      raw.dscp === undefined
        ? null
        : readNumber(raw.dscp, dscpNumber, "code point", DSCP_NAMES, 63, [...at, "dscp"], context),
  };
}
