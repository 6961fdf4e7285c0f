import { setTimeout as delay } from "node:timers/promises";
import test from "ava";
import { benchPolicy, type Case, familyOf } from "../../src/bench/cases.js";
import { matchingKeys } from "../../src/bench/keys.js";
import { Subject, type SubjectName } from "../../src/bench/subjects.js";
import { hasNftables, VethPeer } from "../../src/bench/veth.js";
import { root } from "../support/root-test.js";

const rooted = root ? test : test.skip;
const KEYS = 4096;
/** Packets that a device's backlog holds without losing any (netdev_max_backlog is 1000). */
const BURST = 512;
const PATIENCE_MS = 20_000;

/** Sum of a subject's answers to the same keys. */
function sumOf(name: SubjectName, of: Case, size: number): bigint {
  const policy = benchPolicy(of, size, 7);
  const subject = new Subject(name, policy, familyOf(of), matchingKeys(of, policy, KEYS, 7));
  try {
    return subject.run().sum;
  } finally {
    subject.close();
  }
}

for (const [of, peers] of [
  ["prefix4", ["lpm_trie", "hash", "stride_16_8_8"]],
  ["prefix6", ["lpm_trie"]],
  ["flows", ["hash"]],
] as const)
  rooted(
    `bench ${of}: the classifier and ${peers.join(" and ")} give the same answers${root ? "" : " (needs root)"}`,
    (t) => {
      // Ours adds the verdict, 1 for every key, to the if_id that the peers give.
      const ours = sumOf("xfrm-steer", of, 2000) - BigInt(KEYS);
      for (const peer of peers) t.is(sumOf(peer, of, 2000), ours, peer);
    },
  );

for (const of of ["acl", "fw", "ipc", "srcdst"] as const)
  rooted(
    `bench ${of}: tuple space search finds the rules that the linear search does${root ? "" : " (needs root)"}`,
    (t) => {
      t.is(sumOf("tss", of, 500), sumOf("linear", of, 500));
    },
  );

for (const of of ["prefix4", "flows"] as const)
  rooted(
    `bench ${of}: on a veth pair, the classifier and nftables find every packet's connection${root ? "" : " (needs root)"}`,
    async (t) => {
      const policy = benchPolicy(of, 500, 7);
      for (const name of hasNftables() ? (["xfrm-steer", "nftables"] as const) : (["xfrm-steer"] as const)) {
        const peer = new VethPeer(name, policy, matchingKeys(of, policy, KEYS, 7));
        try {
          for (let sent = BURST; sent <= KEYS; sent += BURST) {
            t.true(peer.run(BURST) > 0);
            // The kernel may leave what a busy machine has received to ksoftirqd.
            const deadline = Date.now() + PATIENCE_MS;
            while (peer.steered() < sent && Date.now() < deadline) await delay(20);
            t.is(peer.steered(), BigInt(sent), name);
          }
        } finally {
          peer.close();
        }
      }
    },
  );
