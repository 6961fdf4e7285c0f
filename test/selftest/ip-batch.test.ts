import { randomBytes } from "node:crypto";
import type { ExecutionContext } from "ava";
import { IpError, Namespace } from "../../src/selftest/namespace.js";
import { rootTest } from "../support/root-test.js";

async function inNew(t: ExecutionContext, work: (namespace: Namespace) => Promise<void>): Promise<void> {
  const namespace = new Namespace("here", `xs-test-${randomBytes(4).toString("hex")}`);
  try {
    await work(namespace);
  } finally {
    await namespace.remove();
  }
  t.pass();
}

rootTest("each call gets what its own lines print, though one process takes them all", (t) =>
  inNew(t, async (ns) => {
    t.is(await ns.ip("link add v0 type veth peer name v1"), "");
    const [route, lo, many] = await Promise.all([
      ns.ip("addr add 10.0.0.1/24 dev v0\nlink set v0 up\nroute show"),
      ns.ip("link show dev lo"),
      ns.ip(Array.from({ length: 500 }, (_, i) => `addr add 10.1.${i >> 8}.${i & 255}/32 dev v0`).join("\n")),
    ]);
    t.regex(route, /^10\.0\.0\.0\/24 dev v0 [^\n]*\n$/);
    t.regex(lo, /^\d+: lo: [^\n]*\n[^\n]*\n$/);
    t.is(many, "");
    t.is((await ns.ip("addr show dev v0")).match(/inet 10\./g)?.length, 501);
  }),
);

rootTest("a line that fails is named, with the kernel's words; the next call works again", (t) =>
  inNew(t, async (ns) => {
    await ns.ip("link add v0 type veth peer name v1");
    const failing = ns.ip("link set v1 up\n\nlink set absent up\nlink set v0 up");
    const error = await t.throwsAsync(failing, { instanceOf: IpError });
    t.regex(error.message, /^ip in here: link set absent up: Cannot find device "absent"/);
    t.regex(await ns.ip("link show dev v1"), /[<,]UP/);
    t.notRegex(await ns.ip("link show dev v0"), /[<,]UP/);
    const unreadable = await t.throwsAsync(ns.ip("route add nonsense"), { instanceOf: IpError });
    t.regex(unreadable.message, /route add nonsense: Error: .*nonsense/);
  }),
);
