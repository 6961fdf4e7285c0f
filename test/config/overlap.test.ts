import test from "ava";
import { formatDiagnostic, parsePolicy } from "../../src/config/index.js";

const said = (text: string) => parsePolicy(text, "s.yaml").diagnostics.map(formatDiagnostic);

const COUNT = 5493;
const many = Array.from({ length: COUNT }, (_, index) => `10.${index >> 8}.${index & 255}.0/24`).join(", ");

test("thousands of subnets of one connection inside of another's are one line", (t) => {
  t.deepEqual(
    said(
      `version: 1\nconnections:\n  hub: {if_id: 1, subnets: [10.0.0.0/8]}\n  a: {if_id: 2, subnets: [${many}]}\n  b: {if_id: 3, subnets: [10.255.0.0/16]}\n`,
    ),
    [
      "s.yaml:4:27: warning: 10.0.0.0/24 and 5492 more subnets of a lie in those of hub (10.0.0.0/24 in 10.0.0.0/8, line 3); " +
        "the longer prefix decides: packets to them go to a; add rules with to: a and to: hub if others should decide",
      "s.yaml:5:27: warning: 10.255.0.0/16 of b lies in 10.0.0.0/8 of hub (line 3); " +
        "the longer prefix decides: packets to it go to b; add rules with to: b and to: hub if others should decide",
    ],
  );
});

test("thousands of subnets that two connections share are one line for each", (t) => {
  const lines = said(
    `version: 1\nconnections:\n  a: {if_id: 1, subnets: [${many}]}\n  b: {if_id: 2, subnets: [${many}]}\nrules: [{to: a}]\n`,
  );
  t.deepEqual(lines, [
    "s.yaml:4:27: error: 10.0.0.0/24 and 5492 more are subnets of b and of a, and no rule sends any of them to b; " +
      "add a rule with match: {dst: 10.0.0.0/24, ...} and to: b, or take them out of b",
  ]);
});

test("thousands of subnets that a connection has twice are one line", (t) => {
  t.deepEqual(
    said(`version: 1\nconnections:\n  a: {if_id: 1, subnets: [${many}, ${many}]}\n`).map((line) =>
      line.replace(/^s.yaml:3:\d+/, ""),
    ),
    [": warning: 10.0.0.0/24 is there twice in a, and so are 5492 more; keep one"],
  );
});
