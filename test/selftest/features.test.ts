import test from "ava";
import { isAtLeast, judgeLack, versionOf } from "../../src/selftest/features.js";

const FEATURE = { since: "6.2", what: "bpf_skb_set_xfrm_info", config: ["CONFIG_XFRM_INTERFACE"] };

const versions: [release: string, since: string, atLeast: boolean][] = [
  ["6.1.0-50-cloud-amd64", "6.2", false],
  ["6.2.0", "6.2", true],
  ["6.12.107+deb13-cloud-amd64", "6.2", true],
  ["7.2.12+deb13-cloud-amd64", "6.12", true],
  ["5.10.0", "6.1", false],
];
for (const [release, since, expected] of versions) {
  test(`${release} is ${expected ? "" : "not "}at least ${since}`, (t) =>
    t.is(isAtLeast(release, since), expected));
}

test("reads the numbers a release starts with", (t) => {
  t.deepEqual(versionOf("6.12.107+deb13-cloud-amd64"), [6, 12, 107]);
});

const lacks: { name: string; release: string; config?: string; verdict: string; why: string }[] = [
  {
    name: "an older kernel is skipped, by name",
    release: "6.1.0-50-cloud-amd64",
    config: "CONFIG_XFRM_INTERFACE=m\n",
    verdict: "skip",
    why: "needs Linux 6.2 (bpf_skb_set_xfrm_info), this is 6.1.0",
  },
  {
    name: "a kernel built without it is skipped, with the option",
    release: "6.18.5",
    config: "# CONFIG_XFRM_INTERFACE is not set\n",
    verdict: "skip",
    why: "needs bpf_skb_set_xfrm_info; this kernel is built without CONFIG_XFRM_INTERFACE",
  },
  {
    name: "a kernel that should have it fails",
    release: "6.12.107",
    config: "CONFIG_XFRM_INTERFACE=m\n",
    verdict: "fail",
    why: "needs Linux 6.2 (bpf_skb_set_xfrm_info), this is 6.12.107 and should have it, but it was not found",
  },
  {
    name: "a new kernel whose options are unknown fails",
    release: "6.12.107",
    verdict: "fail",
    why: "needs Linux 6.2 (bpf_skb_set_xfrm_info), this is 6.12.107 and should have it, but it was not found",
  },
];
for (const { name, release, config, verdict, why } of lacks) {
  test(name, (t) => t.like(judgeLack(FEATURE, release, config), { have: false, verdict, why }));
}
