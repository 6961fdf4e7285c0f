import test from "ava";
import {
  counterDelta,
  parseLinkCounters,
  parseSaCounters,
  parseXfrmStat,
} from "../../src/selftest/counters.js";

// As iproute2 6.1 prints it, keys left out by "nokeys".
const STATES = `src 172.16.1.200 dst 172.16.1.100
	proto esp spi 0x00000101(257) reqid 1(0x00000001) mode tunnel
	replay-window 32 seq 0x00000000 flag af-unspec (0x00000020)
	aead rfc4106(gcm(aes))  (160 bits) 128
	anti-replay context: seq 0x5, oseq 0x0, bitmap 0x0000001f
	if_id 0x1a
	sel src 0.0.0.0/0 dst 0.0.0.0/0 uid 0
	lifetime config:
	  limit: soft (INF)(bytes), hard (INF)(bytes)
	  limit: soft (INF)(packets), hard (INF)(packets)
	lifetime current:
	  420(bytes), 5(packets)
	  add 2026-11-21 08:00:00 use 2026-11-21 08:00:01
	stats:
	  replay-window 1 replay 2 failed 3
src fd00::1 dst fd00::2
	proto esp spi 0x00000200(512) reqid 2(0x00000002) mode transport
	replay-window 0 seq 0x00000000 flag  (0x00000000)
	lifetime current:
	  0(bytes), 0(packets)
	stats:
	  replay-window 0 replay 0 failed 0
`;

test("reads every SA's counters, with if_id 0 where it has none", (t) => {
  t.deepEqual(parseSaCounters(STATES), [
    {
      ...{ src: "172.16.1.200", dst: "172.16.1.100", spi: 0x101, reqid: 1, mode: "tunnel", ifId: 0x1a },
      ...{ packets: 5, bytes: 420, replayErrors: 2, integrityErrors: 3 },
    },
    {
      ...{ src: "fd00::1", dst: "fd00::2", spi: 0x200, reqid: 2, mode: "transport", ifId: 0 },
      ...{ packets: 0, bytes: 0, replayErrors: 0, integrityErrors: 0 },
    },
  ]);
});

test("reads no SA from no output", (t) => t.deepEqual(parseSaCounters(""), []));

test("reads /proc/net/xfrm_stat, and tells what changed", (t) => {
  const before = parseXfrmStat("XfrmInError             \t0\nXfrmInNoPols            \t2\n");
  const after = parseXfrmStat("XfrmInError             \t0\nXfrmInNoPols            \t6\n");
  t.deepEqual(before, { XfrmInError: 0, XfrmInNoPols: 2 });
  t.deepEqual(counterDelta(before, after), { XfrmInNoPols: 4 });
});

test("reads a device's counters from ip's JSON", (t) => {
  const rx = { bytes: 1, packets: 2, errors: 3, dropped: 4, over_errors: 0, multicast: 0 };
  const tx = { bytes: 5, packets: 6, errors: 7, dropped: 8, carrier_errors: 9, collisions: 0 };
  const json = JSON.stringify([{ ifindex: 2, ifname: "ipsec0", stats64: { rx, tx } }]);
  t.deepEqual(parseLinkCounters(json).get("ipsec0"), {
    ...{ rxPackets: 2, rxErrors: 3, rxDropped: 4 },
    ...{ txPackets: 6, txErrors: 7, txDropped: 8, txCarrierErrors: 9 },
  });
});
