import { randomBytes } from "node:crypto";
import { chmodSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import type { ExecutionContext } from "ava";
import type { Status } from "../../src/backends/backend.js";
import { packageRoot } from "../../src/sys/paths.js";
import { serialRootTest } from "../support/root-test.js";
import { Gateway } from "./gateway.js";

const EXAMPLE = join(packageRoot, "examples", "custom-program");
const SPREAD = join(EXAMPLE, "spread.bpf.c");
const SOURCES = Array.from({ length: 8 }, (_, i) => `10.0.0.${i + 1}`);

/** The example's policy at the hub, with keys; at the site, the two connections the other way round. */
function policies(): { hub: string; site: string } {
  const esp = (end: "hub" | "site", path: number) => {
    const [local, remote] = end === "hub" ? ["192.0.2.1", "192.0.2.2"] : ["192.0.2.2", "192.0.2.1"];
    const there = `{spi: 0x${path}001, key: file:keys/${path === 1 ? "out" : "out-2"}.key}`;
    const back = `{spi: 0x${path}002, key: file:keys/${path === 1 ? "in" : "in-2"}.key}`;
    const [out, into] = end === "hub" ? [there, back] : [back, there];
    return `esp: {local: ${local}, remote: ${remote}, suite: aes128-gcm, out: ${out}, in: ${into}}`;
  };
  const example = readFileSync(join(EXAMPLE, "steer.yaml"), "utf8");
  const hub = example
    .replace("file: spread.bpf.c", `file: ${SPREAD}`)
    .replace("10.0.0.1/32", SOURCES.map((address) => `${address}/32`).join(", "))
    .replace(/if_id: 101,/, `if_id: 101, ${esp("hub", 1)},`)
    .replace(/if_id: 102,/, `if_id: 102, ${esp("hub", 2)},`);
  const site = `version: 1
interface: {name: ipsec0, addresses: [10.1.0.1/32, "fd00:1::1/128"]}
connections:
  a: {if_id: 7, subnets: [10.0.0.0/16, "fd00::/64"], ${esp("site", 1)}}
  b: {if_id: 8, subnets: [10.0.0.0/16, "fd00::/64"], ${esp("site", 2)}}
rules: [{match: {dst: [10.0.0.0/16, "fd00::/64"], dscp: 8}, to: b}, {match: {dst: [10.0.0.0/16, "fd00::/64"]}, to: a}]
`;
  return { hub, site };
}

/** What the example's hash says, in its own words. */
function pathOf(source: string): "path-a" | "path-b" {
  const word = source.split(".").reduce((sum, byte) => sum * 256 + Number(byte), 0);
  const hash = Number((BigInt(word) * 2654435761n) & 0xffffffffn);
  return (hash >>> 16) % 2 === 0 ? "path-a" : "path-b";
}

const sent = ({ connections }: Status) => ({
  counted: Object.fromEntries(connections.map(({ name, sent }) => [name, sent.packets])),
  encrypted: Object.fromEntries(connections.map(({ name, sa }) => [name, sa?.encrypted.packets])),
});

async function running(t: ExecutionContext): Promise<Gateway> {
  const gateway = await Gateway.build(t);
  for (const name of ["out-2", "in-2"])
    chmodSync(gateway.write(`keys/${name}.key`, randomBytes(20).toString("hex")), 0o600);
  const { hub, site } = policies();
  await gateway.up(hub, site);
  return gateway;
}

async function pingFromAll(t: ExecutionContext, gateway: Gateway): Promise<void> {
  for (const source of SOURCES) t.is(await gateway.ping("10.1.0.1", source, 2), 2, source);
}

serialRootTest("the example's program spreads sources over two connections; rules take IPv6", async (t) => {
  const gateway = await running(t);
  await pingFromAll(t, gateway);
  t.is(await gateway.ping("fd00:1::1", "fd00::1", 3), 3);
  const counts = { "path-a": 3, "path-b": 0 };
  for (const source of SOURCES) counts[pathOf(source)] += 2;
  t.true(counts["path-a"] > 3 && counts["path-b"] > 0, "the sources are of both kinds");
  const status = await gateway.status("hub");
  t.deepEqual(sent(status), { counted: counts, encrypted: counts });
  t.like(status.rules[0], { name: "ipv6", matched: { packets: 3 } });
});

serialRootTest(
  "load puts a program in front of a policy's rules, with constants and map entries",
  async (t) => {
    const gateway = await running(t);
    const policy = gateway.write("hub.yaml", policies().hub);
    const options = ["--set", "n=1", "--set", "if_ids=102", "--map", "homes:10.0.0.3=101", "--json"];
    const { code, stdout, stderr } = await gateway.cli("hub", "load", SPREAD, policy, ...options);
    t.is(code, 0, stderr);
    t.like(JSON.parse(stdout), { interface: "ipsec0", backend: "userspace", generation: 2, created: false });
    await pingFromAll(t, gateway);
    t.deepEqual(sent(await gateway.status("hub")).counted, { "path-a": 2, "path-b": 14 });
  },
);

serialRootTest("plan sees a program's code, constants and map entries", async (t) => {
  const gateway = await Gateway.build(t);
  const source = gateway.write("own.bpf.c", readFileSync(SPREAD, "utf8"));
  const yaml = gateway.write("hub.yaml", policies().hub.replace(SPREAD, source));
  for (const name of ["out-2", "in-2"])
    chmodSync(gateway.write(`keys/${name}.key`, randomBytes(20).toString("hex")), 0o600);
  const applied = await gateway.cli("hub", "apply", yaml);
  t.is(applied.code, 0, applied.stderr);
  const plan = async (file = yaml) => (await gateway.cli("hub", "plan", file)).stdout;
  t.is(await plan(), "ipsec0: nothing would change\n");
  const other = policies().hub.replace(SPREAD, source).replace("{10.0.0.9: 102}", "{10.0.0.9: 101}");
  t.is(await plan(gateway.write("other.yaml", other)), "~ program\n    map homes: 10.0.0.9: 102 -> 101\n");
  gateway.write("own.bpf.c", readFileSync(SPREAD, "utf8").replace("XFRM_STEER_NEXT", "XFRM_STEER_PASS"));
  t.is(await plan(), "~ program\n    its code differs\n");
});

serialRootTest("a bundle holds the program itself: nothing asks for its C file any more", async (t) => {
  const gateway = await running(t);
  const source = gateway.write("mine.bpf.c", readFileSync(SPREAD, "utf8"));
  // With n: 1 and one if_id all goes to path-b, which the program that runs already does not do.
  const mine = policies()
    .hub.replace(SPREAD, source)
    .replace("n: 2, if_ids: [101, 102]", "n: 1, if_ids: [102]");
  const bundle = `${source}.bundle`;
  const compiled = await gateway.cli("hub", "compile", gateway.write("mine.yaml", mine), "-o", bundle);
  t.is(compiled.code, 0, compiled.stderr);
  rmSync(source);
  for (const [command, code, ...more] of [
    ["check", 0],
    ["explain", 0, "icmp 10.0.0.1 > 10.1.0.1"],
    ["apply", 0],
    ["plan", 0],
  ] as const) {
    const ran = await gateway.cli("hub", command, bundle, ...more);
    t.is(ran.code, code, `${command}: ${ran.stderr}`);
  }
  await pingFromAll(t, gateway);
  t.deepEqual(sent(await gateway.status("hub")).counted, { "path-a": 0, "path-b": 16 });
});

serialRootTest("an if_id of no connection is dropped and counted", async (t) => {
  const gateway = await running(t);
  const policy = gateway.write("hub.yaml", policies().hub);
  for (const ifId of ["103", "0"]) {
    const before = (await gateway.status("hub")).default.matched.packets;
    const loaded = await gateway.cli(
      "hub",
      "load",
      SPREAD,
      policy,
      "--set",
      "n=1",
      "--set",
      `if_ids=${ifId}`,
    );
    t.is(loaded.code, 0, loaded.stderr);
    await gateway.exec("hub", "bash", "-c", "for i in 1 2 3; do echo lost > /dev/udp/10.1.0.1/9; done");
    const status = await gateway.status("hub");
    t.is(status.default.matched.packets - before, 3, `if_id ${ifId}`);
    t.deepEqual(sent(status).encrypted, { "path-a": 0, "path-b": 0 });
  }
});

const LACKS_NULL_CHECK = `#include "xfrm_steer.h"

int steer(struct __sk_buff *skb, struct xfrm_steer_info *info)
{
	info->if_id = 101;
	return XFRM_STEER_STEER;
}
`;

serialRootTest("a program that cannot be used changes nothing, and the message says why", async (t) => {
  const gateway = await running(t);
  const policy = gateway.write("hub.yaml", policies().hub);
  const load = (path: string, ...options: string[]) => gateway.cli("hub", "load", path, policy, ...options);

  const refused = await load(gateway.write("null.bpf.c", LACKS_NULL_CHECK));
  t.is(refused.code, 1);
  t.regex(refused.stderr, /null\.bpf\.c:5: the verifier refused the program\n {2}info->if_id = 101;/);
  t.regex(refused.stderr, /mem_or_null/);

  const misspelt = await load(gateway.write("typo.bpf.c", LACKS_NULL_CHECK.replace("->if_id", "->ifid")));
  t.is(misspelt.code, 2);
  t.regex(misspelt.stderr, /typo\.bpf\.c:5:8: error: no member named 'ifid'/);

  const missing = await load(join(EXAMPLE, "nope.bpf.c"));
  t.is(missing.code, 2);
  t.regex(missing.stderr, /nope\.bpf\.c cannot be read \(ENOENT\); check the path/);

  const other = await load(
    gateway.write("other.bpf.c", LACKS_NULL_CHECK.replace("steer(struct", "stir(struct")),
  );
  t.is(other.code, 2);
  t.regex(other.stderr, /other\.bpf\.c defines no function steer; write int steer\(/);

  for (const [option, text, said] of [
    ["--set", "nn=1", /spread\.bpf\.c has no constant nn; it has .*if_ids/],
    ["--set", "n=many", /constant n: "many" does not fit __u32; write a whole number/],
    ["--set", "n", /--set n: write --set NAME=VALUE/],
    ["--map", "hosts:1=2", /has no map hosts; it has homes/],
    ["--map", "homes:10.0.0.300=2", /the key 10\.0\.0\.300 of map homes/],
  ] as const) {
    const { code, stderr } = await load(SPREAD, option, text);
    t.is(code, 2, text);
    t.regex(stderr, said);
  }

  t.is((await gateway.status("hub")).generation, 1);
  await pingFromAll(t, gateway);
});
