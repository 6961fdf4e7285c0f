import { execFileSync } from "node:child_process";
import { readlinkSync } from "node:fs";
import test from "ava";
import { inNetns } from "../../src/sys/netns.js";
import { openTun, TunError } from "../../src/sys/tun.js";
import { ip, makeNamespace, whyNoNamespaces } from "./namespace.js";

const reason = whyNoNamespaces();
const rooted = reason === null ? test.serial : test.serial.skip;
const suffix = reason === null ? "" : ` (${reason})`;

const namespaceNow = (): string => readlinkSync("/proc/thread-self/ns/net");

rooted(`work in a namespace happens there, and the thread comes back${suffix}`, (t) => {
  const name = makeNamespace(t);
  const before = namespaceNow();
  const inside = inNetns(name, namespaceNow);
  t.not(inside, before);
  t.is(namespaceNow(), before);
  t.throws(
    () =>
      inNetns(name, () => {
        throw new Error("work failed");
      }),
    { message: "work failed" },
  );
  t.is(namespaceNow(), before);
});

rooted(`entering a namespace that does not exist says so and changes nothing${suffix}`, (t) => {
  const before = namespaceNow();
  t.throws(() => inNetns("xs-no-such-namespace", () => t.fail()), {
    name: "SystemError",
    message: /entering the network namespace xs-no-such-namespace: ENOENT; `ip netns list`/,
  });
  t.is(namespaceNow(), before);
});

rooted(`a TUN device appears under its name and goes when closed${suffix}`, (t) => {
  const name = makeNamespace(t);
  const tun = inNetns(name, () => openTun("ipsec0"));
  t.regex(ip("-n", name, "-d", "link", "show", "dev", "ipsec0"), /tun type tun pi on vnet_hdr on/);
  tun.close();
  t.throws(() => ip("-n", name, "link", "show", "dev", "ipsec0"), { message: /does not exist/ });
});

rooted(`a TUN device may have its number from the kernel${suffix}`, (t) => {
  const name = makeNamespace(t);
  for (const expected of ["ipsec0", "ipsec1"]) {
    const tun = inNetns(name, () => openTun("ipsec%d"));
    t.teardown(() => tun.close());
    t.is(tun.name, expected);
  }
});

for (const queues of [1, 3])
  rooted(`a TUN device of ${queues} queues that another holds is in use${suffix}`, (t) => {
    const name = makeNamespace(t);
    const tun = inNetns(name, () => openTun("ipsec0", { queues }));
    t.teardown(() => tun.close());
    t.is(tun.fds.length, queues);
    t.throws(() => inNetns(name, () => openTun("ipsec0", { queues })), {
      instanceOf: TunError,
      message: /making the TUN device ipsec0: EBUSY; another process holds/,
    });
  });

rooted(`a name that another kind of link has is in use${suffix}`, (t) => {
  const name = makeNamespace(t);
  ip("-n", name, "link", "add", "taken", "type", "veth");
  const error = t.throws(() => inNetns(name, () => openTun("taken")), { instanceOf: TunError });
  t.is(error?.reason, "in-use");
});

for (const name of ["", "a-name-of-16-byt"]) {
  test(`"${name}" is refused as a TUN device's name before anything is opened`, (t) => {
    const error = t.throws(() => openTun(name), { instanceOf: TunError, message: /1 to 15 bytes/ });
    t.is(error?.reason, "bad-name");
  });
}

rooted(`without CAP_NET_ADMIN the message says that it is needed${suffix}`, (t) => {
  const tun = new URL("../../src/sys/tun.js", import.meta.url).href;
  const script = `
    import { openTun } from ${JSON.stringify(tun)};
    try { openTun("xs-norights").close(); } catch ({ name, reason, message }) { console.log(JSON.stringify({ name, reason, message })); }`;
  const output = execFileSync(
    "setpriv",
    [
      "--bounding-set=-net_admin",
      "--inh-caps=-net_admin",
      process.execPath,
      "--input-type=module",
      "-e",
      script,
    ],
    { encoding: "utf8" },
  );
  t.deepEqual(JSON.parse(output), {
    name: "TunError",
    reason: "no-rights",
    message: "making the TUN device xs-norights: EPERM; it needs CAP_NET_ADMIN in this network namespace",
  });
});
