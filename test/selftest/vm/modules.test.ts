import test from "ava";
import {
  filterAliases,
  moduleClosure,
  moduleName,
  parseDependencies,
} from "../../../src/selftest/vm/modules.js";

const DEP = `kernel/net/xfrm/xfrm_interface.ko.xz: kernel/net/ipv6/tunnel6.ko.xz kernel/net/ipv4/tunnel4.ko.xz
kernel/net/ipv6/tunnel6.ko.xz:
kernel/net/ipv4/tunnel4.ko.xz:
kernel/crypto/ghash-generic.ko.xz:
kernel/drivers/net/veth.ko.xz:
`;

test("a module's name has no folder, no suffix and underscores", (t) => {
  t.is(moduleName("kernel/crypto/ghash-generic.ko.xz"), "ghash_generic");
  t.is(moduleName("kernel/drivers/net/veth.ko"), "veth");
});

test("takes modules with all they need, and passes over those a kernel lacks", (t) => {
  const files = moduleClosure(parseDependencies(DEP), ["xfrm_interface", "ghash_generic", "builtin_here"]);
  t.deepEqual([...files].map(moduleName).sort(), ["ghash_generic", "tunnel4", "tunnel6", "xfrm_interface"]);
});

test("keeps the aliases and soft dependencies of the modules that are there", (t) => {
  const text =
    "# Aliases\nalias rtnl-link-xfrm xfrm_interface\nalias fs-ext4 ext4\nsoftdep gcm pre: x\nsoftdep ext4 pre: y\n";
  const kept = "alias rtnl-link-xfrm xfrm_interface\nsoftdep gcm pre: x\n";
  t.is(filterAliases(text, new Set(["xfrm_interface", "gcm"])), kept);
});
