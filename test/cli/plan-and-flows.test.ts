import { readFileSync } from "node:fs";
import { Gateway, HUB_POLICY, LOSS_S } from "../backends/gateway.js";
import { CLI } from "../support/cli.js";
import { serialRootTest } from "../support/root-test.js";

serialRootTest(
  "plan: all of it, then nothing, then what changed; a bundle applies as its YAML does",
  async (t) => {
    const gateway = await Gateway.build(t);
    const yaml = gateway.write("hub.yaml", HUB_POLICY);
    const before = await gateway.cli("hub", "plan", yaml);
    t.is(before.code, 3, before.stderr);
    t.is(before.stdout, "+ interface ipsec0\n    1 connections\n    0 rules\n");

    const bundle = `${yaml}.bundle`;
    const compiled = await gateway.cli("hub", "compile", yaml, "-o", bundle);
    t.is(compiled.code, 0, compiled.stderr);
    const applied = await gateway.cli("hub", "apply", bundle, "--json");
    t.is(applied.code, 0, applied.stderr);
    t.is(JSON.parse(applied.stdout).generation, 1);
    for (const file of [bundle, yaml]) {
      const { code, stdout, stderr } = await gateway.cli("hub", "plan", file);
      t.is(code, 0, stderr);
      t.is(stdout, "ipsec0: nothing would change\n");
    }

    const changed = gateway.write("changed.yaml", HUB_POLICY.replace("if_id: 101", "if_id: 102"));
    const after = await gateway.cli("hub", "plan", changed, "--json");
    t.is(after.code, 3, after.stderr);
    t.deepEqual(JSON.parse(after.stdout).changes, [
      { action: "change", what: "connection", name: "site", details: ["if_id: 101 -> 102"] },
    ]);

    const bytes = readFileSync(bundle);
    bytes[bytes.length - 1] = (bytes.at(-1) as number) ^ 1;
    const damaged = gateway.write("damaged.bundle", bytes.toString("latin1"));
    const refused = await gateway.cli("hub", "apply", damaged);
    t.is(refused.code, 2);
    t.regex(refused.stderr, /error: the bundle is damaged/);
    t.is((await gateway.status("hub")).generation, 1);
  },
);

serialRootTest("apply names the connection or rule whose device is not there, and its place", async (t) => {
  const gateway = await Gateway.build(t);
  const rule = (match: string, to: string) =>
    `${HUB_POLICY}rules:\n  - {name: r, match: {${match}}, to: ${to}}\n`;
  for (const [policy, said] of [
    [
      HUB_POLICY.replace("if_id: 101,", "if_id: 101, link: nodev0,"),
      /hub\.yaml:4:3: connection site: there is no network device nodev0 .*; make it/,
    ],
    [rule("iif: nodev1", "drop"), /hub\.yaml:6:5: rule r: there is no network device nodev1 .*; make it/],
    [rule("iif: group:nogrp", "drop"), /hub\.yaml:6:5: rule r: there is no device group nogrp; name it/],
    [
      rule("proto: udp", "{connection: site, link: nodev2}"),
      /hub\.yaml:6:5: rule r: there is no network device nodev2/,
    ],
  ] as const) {
    const { code, stderr } = await gateway.apply("hub", policy);
    t.is(code, 1);
    t.regex(stderr, said);
  }
});

serialRootTest("flow add, list and del change where packets go at once, and survive a swap", async (t) => {
  const gateway = await Gateway.build(t);
  const closed = `${HUB_POLICY}rules: [{name: closed, match: {dst: 10.1.0.0/16}, to: drop}]\n`;
  await gateway.up(closed);
  t.is(await gateway.ping("10.1.0.1", "10.0.0.1", 3, LOSS_S), 0);

  const rows = gateway.write(
    "rows.csv",
    "src,dst,proto,connection\n10.0.0.1,10.1.0.1,icmp,site\n10.0.0.1,10.1.0.2,icmp,site\n",
  );
  const flow = (action: string, input: string) =>
    gateway.exec("hub", "sh", "-c", `'${process.execPath}' '${CLI}' flow ${action} ipsec0 < '${input}'`);
  const added = await flow("add", rows);
  t.is(added.stdout, "added 2 flows\n", added.stderr);
  t.true((await gateway.ping("10.1.0.1", "10.0.0.1")) > 0);

  t.is((await gateway.apply("hub", closed.replace("if_id: 101,", "if_id: 101, rx: {mark: 1},"))).code, 0);
  t.true((await gateway.ping("10.1.0.1", "10.0.0.1")) > 0, "the flow is there in the next generation");
  const listed = await gateway.cli("hub", "flow", "list", "ipsec0");
  t.deepEqual(listed.stdout.trim().split("\n").sort(), [
    "10.0.0.1,10.1.0.1,icmp,,,site",
    "10.0.0.1,10.1.0.2,icmp,,,site",
    "src,dst,proto,sport,dport,connection",
  ]);

  const wrong = gateway.write(
    "wrong.csv",
    "src,dst,proto,connection\n10.0.0.1,10.1.0.3,icmp,site\n10.0.0.1,10.1.0.4,icmp,sites\n",
  );
  const refused = await flow("add", wrong);
  t.is(refused.code, 2);
  t.regex(
    refused.stderr,
    /^stdin:3:1: error: connection: "sites" is not a connection; did you mean site\?$/m,
  );
  t.is((await gateway.cli("hub", "flow", "list", "ipsec0")).stdout, listed.stdout, "nothing of it was added");

  const one = gateway.write("one.csv", "src,dst,proto\n10.0.0.1,10.1.0.1,icmp\n10.9.9.9,10.1.0.1,icmp\n");
  t.is((await flow("del", one)).stdout, "deleted 1 flows\n");
  t.is(await gateway.ping("10.1.0.1", "10.0.0.1", 3, LOSS_S), 0);
});

serialRootTest("a flow of the policy's file can be deleted until the next apply", async (t) => {
  const gateway = await Gateway.build(t);
  gateway.write("flows.csv", "src,dst,proto,connection\n10.0.0.1,10.1.0.1,icmp,site\n");
  const policy = `${HUB_POLICY}rules: [{name: closed, match: {dst: 10.1.0.0/16}, to: drop}]\nflows: flows.csv\n`;
  await gateway.up(policy);
  t.true((await gateway.ping("10.1.0.1", "10.0.0.1")) > 0);
  const one = gateway.write("one.ndjson", '{"src": "10.0.0.1", "dst": "10.1.0.1", "proto": "icmp"}\n');
  const { stdout, stderr } = await gateway.exec(
    "hub",
    "sh",
    "-c",
    `'${process.execPath}' '${CLI}' flow del ipsec0 < '${one}'`,
  );
  t.is(stdout, "deleted 1 flows\n", stderr);
  t.is(await gateway.ping("10.1.0.1", "10.0.0.1", 3, LOSS_S), 0);
  t.regex(
    (await gateway.cli("hub", "flow", "list", "ipsec0")).stdout,
    /^# deleted: 10\.0\.0\.1,10\.1\.0\.1,icmp,,,$/m,
  );
  t.is((await gateway.apply("hub", policy)).code, 0);
  t.true((await gateway.ping("10.1.0.1", "10.0.0.1")) > 0);
});

serialRootTest("two applies at one time both succeed, one after the other", async (t) => {
  const gateway = await Gateway.build(t);
  const policies = [1, 2, 3].map((i) =>
    gateway.write(`hub${i}.yaml`, HUB_POLICY.replace("if_id: 101", `if_id: ${i}`)),
  );
  const applied = await Promise.all(policies.map((file) => gateway.cli("hub", "apply", file, "--json")));
  t.deepEqual(
    applied.map(({ code }) => code),
    [0, 0, 0],
    applied.map(({ stderr }) => stderr).join("\n"),
  );
  t.deepEqual(applied.map(({ stdout }) => JSON.parse(stdout).generation).sort(), [1, 2, 3]);
});
