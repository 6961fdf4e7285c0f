import { join } from "node:path";
import test from "ava";
import { inexpressible } from "../../src/backends/kernel-lwt/plan.js";
import { type Policy, parsePolicy } from "../../src/config/index.js";
import { packageRoot } from "../../src/sys/paths.js";

const SHARED = `version: 1
connections:
  a: {if_id: 1, subnets: [10.1.0.0/16]}
  b: {if_id: 2, subnets: [10.1.0.0/16]}
`;
const PROGRAM = `program:
  file: spread.bpf.c
  constants: {n: 2, if_ids: [0x65, 102], on: true}
  maps: {homes: {10.0.0.9: 102, "10,20": [1, 2]}}
`;

const FOLDER = join(packageRoot, "examples", "custom-program");
const read = (text: string) => parsePolicy(text, join(FOLDER, "steer.yaml"));

test("a program's file lies beside the policy; values are kept as text", (t) => {
  const { policy } = read(SHARED + PROGRAM);
  t.deepEqual(policy?.program, {
    file: join(FOLDER, "spread.bpf.c"),
    constants: { n: ["2"], if_ids: ["101", "102"], on: ["true"] },
    maps: [
      { map: "homes", key: ["10.0.0.9"], value: ["102"] },
      { map: "homes", key: ["10", "20"], value: ["1", "2"] },
    ],
    built: null,
  });
});

test("a subnet of two connections needs rules, or a program, that decide", (t) => {
  t.is(read(SHARED).policy, null);
  t.deepEqual(read(SHARED + PROGRAM).diagnostics, []);
});

test("what a program is loaded in front of may leave to it what a policy's own program may", (t) => {
  const { policy, diagnostics } = parsePolicy(SHARED, "steer.yaml", { withProgram: true });
  t.deepEqual(diagnostics, []);
  t.is(policy?.connections.length, 2);
});

test("a policy without connections needs a program", (t) => {
  t.is(read("version: 1\nconnections: {}\n").policy, null);
  t.deepEqual(read(`version: 1\nconnections: {}\n${PROGRAM}`).policy?.connections, []);
});

test("routes cannot run a program", (t) => {
  const { policy } = read(`version: 1\nconnections: {a: {if_id: 1}}\n${PROGRAM}`);
  t.deepEqual(
    inexpressible(policy as Policy).map(({ message }) => message),
    ["the policy has a program, which a route cannot run"],
  );
});
