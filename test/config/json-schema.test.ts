import { readdirSync, readFileSync } from "node:fs";
import path from "node:path";
import { Ajv2020 } from "ajv/dist/2020.js";
import test from "ava";
import { parse } from "yaml";
import { policyJsonSchema } from "../../src/config/json-schema.js";
import { packageRoot } from "../../src/sys/paths.js";

const FILE = path.join(packageRoot, "schemas", "steer.schema.json");
const validate = new Ajv2020({ allErrors: true, allowUnionTypes: true }).compile(
  JSON.parse(readFileSync(FILE, "utf8")),
);

test("schemas/steer.schema.json is what the reader's schema makes; `node scripts/schema.js` writes it", (t) => {
  t.is(readFileSync(FILE, "utf8"), `${JSON.stringify(policyJsonSchema(), null, 2)}\n`);
});

const examples = readdirSync(path.join(packageRoot, "examples"), {
  recursive: true,
  encoding: "utf8",
}).filter((name) => name.endsWith(".yaml"));

for (const name of examples)
  test(`the JSON Schema takes examples/${name}`, (t) => {
    const valid = validate(parse(readFileSync(path.join(packageRoot, "examples", name), "utf8")));
    t.true(valid, JSON.stringify(validate.errors));
  });

test("there are examples", (t) => t.true(examples.length >= 5));

const wrong: readonly (readonly [title: string, text: string])[] = [
  ["no version", "connections: {a: {if_id: 1}}"],
  ["another version", "version: 2"],
  ["an unknown key", "version: 1\nconections: {a: {if_id: 1}}"],
  ["an if_id of 0", "version: 1\nconnections: {a: {if_id: 0}}"],
  ["a name with a blank", "version: 1\nconnections: {a b: {if_id: 1}}"],
  ["an empty list", "version: 1\nrules: [{match: {src: []}, to: a}]"],
  ["not beside other keys", "version: 1\nrules: [{match: {src: {not: 10.0.0.0/8, or: x}}, to: a}]"],
  ["an unknown fragment state", "version: 1\nrules: [{match: {fragment: last}, to: a}]"],
  ["an empty group", "version: 1\nrules: [{to: {group: []}}]"],
  ["a rule without to", "version: 1\nrules: [{match: {proto: tcp}}]"],
];

for (const [title, text] of wrong)
  test(`the JSON Schema refuses ${title}`, (t) => {
    t.false(validate(parse(text)));
  });
