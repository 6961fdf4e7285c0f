import { spawn } from "node:child_process";
import { readSync } from "node:fs";
import { setImmediate as turn } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import test from "ava";
import { attachTc } from "libbpf-ts";
import { loadClassifier } from "../../src/backends/classifier.js";
import { compile } from "../../src/compiler/compile.js";
import { parsePolicy } from "../../src/config/index.js";
import { FRAME_HEADER_SIZE, SHIM_IF_ID } from "../../src/esp/framing.js";
import { inNetns } from "../../src/sys/netns.js";
import { bpfObjectPath } from "../../src/sys/paths.js";
import { openTun } from "../../src/sys/tun.js";
import { ip, makeNamespace, whyNoNamespaces } from "../sys/namespace.js";

const reason = whyNoNamespaces();
const rooted = reason === null ? test.serial : test.serial.skip;

const SWAPS = 500;
const PACKETS = 8000;
const RATE = 2;
const UDP_HEADERS = 28;

/** A generation that sends everything to one connection, by its subnet or by one of a hundred rules. */
function generation(ifId: number, byRule: boolean) {
  const rules = Array.from(
    { length: 100 },
    (_, i) => `  - {match: {dst: 10.9.0.0/24, dport: ${3950 + i}, proto: udp}, to: a}`,
  );
  const yaml = byRule
    ? `version: 1\nconnections: {a: {if_id: ${ifId}}}\nrules:\n${rules.join("\n")}\n`
    : `version: 1\nconnections: {a: {if_id: ${ifId}, subnets: [10.9.0.0/24]}}\n`;
  const { policy, diagnostics } = parsePolicy(yaml, "swap.yaml");
  if (policy === null) throw new Error(JSON.stringify(diagnostics));
  return compile(policy, { ifindexOf: () => 1, ifindexesOfGroup: () => [] });
}

rooted(
  `${SWAPS} swaps under traffic lose no packet and send none where neither generation would${reason ? ` (${reason})` : ""}`,
  async (t) => {
    const name = makeNamespace(t);
    const tun = inNetns(name, () => openTun("ipsec0"));
    t.teardown(() => tun.close());
    const ids = [101, 202];
    const objects = ids.map((ifId, i) =>
      loadClassifier(bpfObjectPath("steer_tun"), generation(ifId, i === 1)),
    );
    t.teardown(() => {
      for (const object of objects) object.close();
    });
    const programs = objects.map((object) => object.program("tun_egress"));
    const [{ ifindex }] = JSON.parse(ip("-n", name, "-j", "link", "show", "ipsec0")) as [{ ifindex: number }];
    const link = inNetns(name, () =>
      attachTc({ ifindex, direction: "egress", program: programs[0] as never }),
    );
    t.teardown(() => link.close());
    ip("-n", name, "link", "set", "ipsec0", "addrgenmode", "none");
    ip("-n", name, "link", "set", "ipsec0", "txqueuelen", "20000", "up");
    ip("-n", name, "addr", "add", "10.9.0.1/24", "dev", "ipsec0");

    const sender = fileURLToPath(new URL("./udp-sender.js", import.meta.url));
    const args = ["netns", "exec", name, process.execPath, sender, "10.9.0.2", String(PACKETS), String(RATE)];
    const child = spawn("ip", args, { stdio: "inherit" });
    t.teardown(() => child.kill());
    const ended = new Promise<number | null>((resolve) => child.on("exit", resolve));
    let exit: number | null | undefined;
    ended.then((status) => {
      exit = status;
    });

    const seen = new Uint8Array(PACKETS);
    const chosen = new Map<number, number>();
    const frame = Buffer.alloc(2048);
    const drain = () => {
      for (;;) {
        try {
          readSync(tun.fd, frame);
        } catch (error) {
          if ((error as NodeJS.ErrnoException).code === "EAGAIN") return;
          throw error;
        }
        const number = frame.readUInt32LE(FRAME_HEADER_SIZE + UDP_HEADERS);
        seen[number] = (seen[number] as number) + 1;
        const ifId = frame.readUInt32LE(SHIM_IF_ID);
        chosen.set(ifId, (chosen.get(ifId) ?? 0) + 1);
      }
    };
    const received = () => [...chosen.values()].reduce((sum, count) => sum + count, 0);
    // One swap for every so many packets, so that all of them meet traffic.
    let swaps = 0;
    while (exit === undefined) {
      drain();
      if (swaps < SWAPS && received() >= (swaps * PACKETS) / (SWAPS + 1)) {
        swaps++;
        inNetns(name, () => link.update(programs[swaps % 2] as never));
      }
      await turn();
    }
    drain();
    t.is(exit, 0);
    t.is(swaps, SWAPS);
    t.true(
      seen.every((count) => count === 1),
      `${seen.filter((count) => count !== 1).length} of ${PACKETS} packets lost or doubled`,
    );
    t.deepEqual([...chosen.keys()].sort(), ids);
  },
);
