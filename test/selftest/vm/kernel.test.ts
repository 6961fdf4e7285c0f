import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test from "ava";
import { mirrorFromIndexTargets } from "../../../src/selftest/vm/apt.js";
import { VmError } from "../../../src/selftest/vm/errors.js";
import { findKernel, kernelAt, kernelPackages, releaseMatches } from "../../../src/selftest/vm/kernel.js";

const matches: [release: string, version: string, expected: boolean][] = [
  ["6.1.0-50-cloud-amd64", "6.1", true],
  ["6.12.107+deb13-cloud-amd64", "6.1", false],
  ["6.12.107+deb13-cloud-amd64", "6.12", true],
  ["6.12.107+deb13-cloud-amd64", "6.12.107", true],
  ["6.12.107+deb13-cloud-amd64", "6.12.10", false],
];
for (const [release, version, expected] of matches) {
  test(`${version} ${expected ? "names" : "does not name"} ${release}`, (t) => {
    t.is(releaseMatches(release, version), expected);
  });
}

const packages: { name: string; names: string[]; version: string; expected: string[] | undefined }[] = [
  {
    name: "takes the newest image by number, not by letter",
    names: ["linux-image-6.12.94+deb13-cloud-amd64", "linux-image-6.12.107+deb13-cloud-amd64"],
    version: "6.12",
    expected: ["linux-image-6.12.107+deb13-cloud-amd64"],
  },
  {
    name: "takes no debug symbols and no unsigned image",
    names: ["linux-image-6.1.0-50-cloud-amd64-dbg", "linux-image-6.1.0-50-cloud-amd64-unsigned"],
    version: "6.1",
    expected: undefined,
  },
  {
    name: "takes the parts of a split kernel",
    names: ["image", "binary", "modules", "base"].map((part) => `linux-${part}-7.2.12+deb13-cloud-amd64`),
    version: "7.2",
    expected: ["binary", "modules", "base"].map((part) => `linux-${part}-7.2.12+deb13-cloud-amd64`),
  },
  {
    name: "passes over a split kernel that is not whole yet",
    names: [
      "linux-binary-7.2.13+deb13-cloud-amd64",
      ...["binary", "modules", "base"].map((part) => `linux-${part}-7.2.12+deb13-cloud-amd64`),
    ],
    version: "7.2",
    expected: ["binary", "modules", "base"].map((part) => `linux-${part}-7.2.12+deb13-cloud-amd64`),
  },
];
for (const { name, names, version, expected } of packages) {
  test(name, (t) => t.deepEqual(kernelPackages(names, version)?.packages, expected));
}

const mirrors: { name: string; output: string; expected: string | undefined }[] = [
  {
    name: "the mirror of the main archive, not of the security one",
    output: "http://s.test/debian-security|bookworm-security|Debian\nhttp://m.test/debian|bookworm|Debian\n",
    expected: "http://m.test/debian",
  },
  {
    name: "a mirror whose lists were never fetched",
    output: "http://m.test/d|trixie|\n",
    expected: "http://m.test/d",
  },
  {
    name: "no mirror in another distribution's sources",
    output: "http://u.test/u|noble|Ubuntu\n",
    expected: undefined,
  },
  { name: "no mirror in no sources", output: "", expected: undefined },
];
for (const { name, output, expected } of mirrors) {
  test(`finds ${name}`, (t) => t.is(mirrorFromIndexTargets(output), expected));
}

/** An unpacked kernel tree with these (empty) files. */
function tree(t: { teardown: (clean: () => void) => void }, ...files: string[]): string {
  const root = mkdtempSync(join(tmpdir(), "kernel-"));
  t.teardown(() => rmSync(root, { recursive: true }));
  for (const path of files) {
    mkdirSync(join(root, path, ".."), { recursive: true });
    writeFileSync(join(root, path), "");
  }
  return root;
}

test("finds vmlinuz and config in boot/, as in Debian 12's packages", (t) => {
  const root = tree(t, "lib/modules/6.1.0/modules.dep", "boot/vmlinuz-6.1.0", "boot/config-6.1.0");
  t.deepEqual(kernelAt(root), {
    release: "6.1.0",
    vmlinuz: join(root, "boot/vmlinuz-6.1.0"),
    modules: join(root, "lib/modules/6.1.0"),
    config: join(root, "boot/config-6.1.0"),
  });
});

test("finds vmlinuz beside the modules, as in split packages; a config need not be there", (t) => {
  const root = tree(t, "usr/lib/modules/7.2.12/modules.dep", "usr/lib/modules/7.2.12/vmlinuz");
  const { vmlinuz, config } = kernelAt(root);
  t.is(vmlinuz, join(root, "usr/lib/modules/7.2.12/vmlinuz"));
  t.is(config, undefined);
});

test("says what a tree lacks", (t) => {
  t.throws(() => kernelAt(tree(t)), { instanceOf: VmError, message: /no kernel in .*vmlinuz/ });
  const unordered = tree(t, "lib/modules/6.1.0/kernel", "boot/vmlinuz-6.1.0");
  t.throws(() => kernelAt(unordered), { instanceOf: VmError, message: /run depmod/ });
});

test("takes a kernel from the cache without asking anybody", async (t) => {
  const cache = tree(
    t,
    ...["6.12.9", "6.12.10"].flatMap((release) => {
      const root = `kernels/${release}`;
      return [`${root}/lib/modules/${release}/modules.dep`, `${root}/boot/vmlinuz-${release}`];
    }),
  );
  t.is((await findKernel("6.12", { cache })).release, "6.12.10");
});

test("refuses a name that is neither a version nor a path, and leaves nothing behind", async (t) => {
  const cache = tree(t);
  const error = await t.throwsAsync(findKernel("newest", { cache }), { instanceOf: VmError });
  t.is(error.kind, "unavailable");
  t.deepEqual(readdirSync(cache), []);
});
