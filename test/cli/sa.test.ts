import { randomBytes } from "node:crypto";
import { writeFileSync } from "node:fs";
import { Gateway, HUB_POLICY, SITE_POLICY } from "../backends/gateway.js";
import { serialRootTest } from "../support/root-test.js";

serialRootTest(
  "sa list and policy list show SAD and SPD as ip xfrm does, and never a key; sa add, switch and delete rekey",
  async (t) => {
    const gateway = await Gateway.build(t);
    await gateway.up();
    t.is(await gateway.ping("10.1.0.1", "10.0.0.1"), 3);
    const listed = await gateway.cli("hub", "sa", "list", "ipsec0");
    t.is(listed.code, 0, listed.stderr);
    t.regex(
      listed.stdout,
      /^src 192.0.2.1 dst 192.0.2.2\n\tproto esp spi 0x00001001\(4097\) reqid 0 mode tunnel\n/,
    );
    t.regex(listed.stdout, /\taead rfc4106\(gcm\(aes\)\) <<Keys hidden>> 128\n/);
    t.regex(listed.stdout, /\tencap type espinudp sport 4500 dport 4500 addr 0.0.0.0\n/);
    t.regex(listed.stdout, /\tanti-replay context: seq 0x0, oseq 0x3\n\tif_id 0x65\n\tdir out\n/);
    t.regex(listed.stdout, /252\(bytes\), 3\(packets\)/);
    const policies = await gateway.cli("hub", "policy", "list");
    t.is(policies.code, 0, policies.stderr);
    t.regex(
      policies.stdout,
      /src 0.0.0.0\/0 dst 0.0.0.0\/0\n\tdir out action allow priority 0\n\ttmpl src 192.0.2.1 dst 192.0.2.2\n\t\tproto esp reqid 0 mode tunnel\n\tif_id 0x65\n/,
    );

    const key = randomBytes(20).toString("hex");
    const file = gateway.write("keys/next.key", key);
    writeFileSync(file, key, { mode: 0o600 });
    await gateway.exec("hub", "chmod", "600", file);
    const rekey = async (node: "hub" | "site", ...args: string[]) => {
      const { code, stderr } = await gateway.cli(node, "sa", ...args);
      t.is(code, 0, stderr);
    };
    await rekey("site", "add", "ipsec0", "hub", "--spi", "0x2001", "--key", `file:${file}`);
    t.is(await gateway.ping("10.1.0.1", "10.0.0.1"), 3);
    await rekey("hub", "switch", "ipsec0", "site", "--spi", "0x2001", "--key", `file:${file}`);
    t.is(await gateway.ping("10.1.0.1", "10.0.0.1"), 3);
    await rekey("site", "delete", "ipsec0", "hub", "--spi", "0x1001");
    t.is(await gateway.ping("10.1.0.1", "10.0.0.1"), 3);

    const planned = await gateway.cli("hub", "plan", gateway.write("hub.yaml", HUB_POLICY));
    t.is(planned.stdout, "~ connection site\n    spi out: 0x2001 -> 0x1001\n", planned.stderr);
    t.is(planned.code, 3);

    const after = await gateway.cli("site", "sa", "list", "--json");
    const states = JSON.parse(after.stdout) as { connection: string; spi: number; packets: number }[];
    t.deepEqual(
      states.map(({ connection, spi, packets }) => [connection, spi, packets]),
      [
        ["hub", 0x1002, 12],
        ["hub", 0x2001, 6],
      ],
    );
    for (const { stdout } of [listed, policies, after]) t.false(stdout.includes(key));
    const wrong = await gateway.cli("site", "sa", "delete", "ipsec0", "hub", "--spi", "0x2001");
    t.is(wrong.code, 1);
    t.regex(wrong.stderr, /only inbound SA/);
  },
);

serialRootTest("apply with a new SPI besides the old one rekeys without the loss of a packet", async (t) => {
  const gateway = await Gateway.build(t);
  await gateway.up();
  const key = gateway.write("keys/next.key", randomBytes(20).toString("hex"));
  await gateway.exec("hub", "chmod", "600", key);
  const next = "{spi: 0x2001, key: file:keys/next.key}";
  const old = "{spi: 0x1001, key: file:keys/out.key}";
  const steps: ["hub" | "site", string][] = [
    ["site", SITE_POLICY.replace(`in: ${old}`, `in: ${next}, also_in: [${old}]`)],
    ["hub", HUB_POLICY.replace(`out: ${old}`, `out: ${next}`)],
    ["site", SITE_POLICY.replace(`in: ${old}`, `in: ${next}`)],
  ];
  const { sent, received } = await gateway.pingDuring("10.1.0.1", "10.0.0.1", async () => {
    for (const [node, policy] of steps) {
      const { code, stderr } = await gateway.apply(node, policy);
      t.is(code, 0, stderr);
    }
  });
  t.is(received, sent);
});
