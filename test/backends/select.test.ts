import test from "ava";
import { allBackends, chooseBackend } from "../../src/backends/select.js";
import { type Policy, parsePolicy } from "../../src/config/index.js";

const HERE = { available: true, reason: "the kernel has it" };
/** As on a kernel that has all they need, whatever this one has. */
const backends = allBackends().map((backend) => ({ ...backend, probe: () => HERE }));

function policyOf(text: string): Policy {
  const { policy, diagnostics } = parsePolicy(`version: 1\n${text}`, "test.yaml");
  if (policy === null) throw new Error(JSON.stringify(diagnostics));
  return policy;
}

const KEYED = `connections:
  a:
    if_id: 1
    esp: {local: 192.0.2.1, remote: 192.0.2.2, suite: aes128-gcm, out: {spi: 256, key: env:OUT}, in: {spi: 257, key: env:IN}}
`;
const MARKED = `connections:
  a: {if_id: 1, rx: {mark: 1}}
rules:
  - {name: voice, match: {dst: 10.1.0.0/16, proto: udp, dport: 5060}, to: a}
  - {name: all, to: a}
`;

test("auto leaves a policy with keys of its own to the userspace backend, also where the kernel could serve", (t) => {
  const { chosen, candidates } = chooseBackend("auto", policyOf(KEYED), backends);
  t.is(chosen?.name, "userspace");
  const reason = "connection a has keys of its own (esp), which only the userspace backend uses";
  t.deepEqual(candidates, [
    { name: "kernel-bpf", available: false, reason },
    { name: "kernel-lwt", available: false, reason },
    { name: "userspace", ...HERE },
  ]);
});

test("auto takes no routes for what they cannot say, and tells its first line and how much more there is", (t) => {
  const policy = policyOf(MARKED);
  const { chosen, candidates } = chooseBackend("auto", policy, backends);
  t.is(chosen?.name, "kernel-bpf");
  const [, lwt] = candidates;
  t.deepEqual(lwt, {
    name: "kernel-lwt",
    available: false,
    reason: "line 3: connection a has an rx mark, which a route cannot set, and 2 more",
  });
  t.is(chooseBackend("auto", policy, backends.slice(1)).chosen?.name, "userspace");
  t.is(chooseBackend("kernel-lwt", policy, backends).chosen?.name, "kernel-lwt", "asked for by name");
});

test("auto takes the best that is there for a policy that all can serve", (t) => {
  const policy = policyOf("connections: {a: {if_id: 1, subnets: [10.1.0.0/16]}}");
  for (const [i, { name }] of backends.entries())
    t.is(chooseBackend("auto", policy, backends.slice(i)).chosen?.name, name);
});
