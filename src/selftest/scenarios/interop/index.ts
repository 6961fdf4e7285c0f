import { randomBytes } from "node:crypto";
import { keymatSize, type Mode } from "../../../esp/index.js";
import type { Namespace } from "../../namespace.js";
import { espInUdpSocket } from "../../netns-socket.js";
import { type Scenario, type ScenarioContext, scenario } from "../../scenario.js";
import { type Cell, cellName, cellSpi, cellsOf, type End, ESP_PORT, LINK, NUMBER, prefix } from "./cells.js";
import { exchange, MARKER, payloadSizes } from "./exchange.js";
import { type CellKeys, setUpKernelEnd } from "./kernel-end.js";
import { startOurEnd } from "./our-end.js";
import { Wire } from "./wire.js";

/** Cells that exchange packets at the same time. */
const TOGETHER = 16;

/** The userspace data path against the kernel's ESP, in every combination of a mode. */
function matrix(mode: Mode): Scenario {
  return scenario({
    name: `interop-${mode}`,
    topology: `
            ours                                kernel
    10.1.0.0/16, fd00:1::/64            10.2.0.0/16, fd00:2::/64
    ipsec0 (userspace ESP)              xfrm policies and SAs
    v0 172.16.0.1, fd00:16::1 ======= v0 172.16.0.2, fd00:16::2

    A connection for every suite, family pair, ESN on and off, UDP and bare; each has its own pair of addresses.
    `,
    needs: ["esp", "tun"],
    limitMs: 480_000,
    typicalMs: 13_000,
    async run(t) {
      const ends = { ours: t.ns("ours"), kernel: t.ns("kernel") };
      await connect(t, ends);
      const cells = cellsOf(mode);
      const keys = cells.map(({ suite }): CellKeys => {
        const size = keymatSize(suite);
        return { ours: randomBytes(size), kernel: randomBytes(size) };
      });
      await setUpKernelEnd(ends.kernel, cells, keys);
      // A neighbour that is not resolved yet has a short queue.
      for (const family of [4, 6] as const)
        await ends.ours.ping(LINK.kernel[family], { count: 1, waitMs: 5000 });
      const sockets = (["0.0.0.0", "::"] as const).map((any) =>
        espInUdpSocket(ends.kernel.path, any, ESP_PORT),
      );
      try {
        const gateway = await startOurEnd(ends.ours, cells, keys);
        try {
          await everyCell(t, cells, ends);
        } finally {
          await gateway.stop();
        }
      } finally {
        for (const close of sockets) close();
      }
    },
  });
}

async function connect(t: ScenarioContext, ends: Readonly<Record<End, Namespace>>): Promise<void> {
  const end = (name: End) => ({
    ns: ends[name],
    device: "v0",
    // Without a link-local address there is no neighbour discovery for packets with addresses of a prefix, which are not
    // the link's own (net/ipv6/ndisc.c, ndisc_send_ns).
    addresses: [`${LINK[name][4]}/24`, `${LINK[name][6]}/64`, `fe80::${NUMBER[name]}/64`],
  });
  for (const name of ["ours", "kernel"] as const) {
    // Addresses of the prefixes are used without being configured one by one.
    ends[name].sysctl("net/ipv6/ip_nonlocal_bind", 1);
    ends[name].sysctl("net/ipv4/conf/all/rp_filter", 0);
    ends[name].sysctl("net/ipv4/conf/default/rp_filter", 0);
  }
  await t.veth(end("ours"), end("kernel"));
  for (const [name, peer] of [
    ["ours", "kernel"],
    ["kernel", "ours"],
  ] as const)
    for (const family of [4, 6] as const) {
      await ends[name].ip(`route add local ${prefix(name, family)} dev lo`);
      if (name === "kernel")
        await ends[name].ip(`route add ${prefix(peer, family)} via ${LINK[peer][family]} dev v0`);
    }
}

async function everyCell(
  t: ScenarioContext,
  cells: readonly Cell[],
  ends: Readonly<Record<End, Namespace>>,
): Promise<void> {
  const capture = t.capture(ends.ours, "v0");
  const failed: string[] = [];
  for (let at = 0; at < cells.length; at += TOGETHER) {
    const some = cells.slice(at, at + TOGETHER);
    const results = some.map((cell) =>
      exchange(cell, ends).then(
        () => null,
        (error: Error) => error,
      ),
    );
    for (const [index, cell] of some.entries()) {
      const outcome = t.step(cellName(cell), async () => {
        const error = await results[index];
        if (error) throw error;
      });
      await outcome.catch((error: Error) => failed.push(`${cellName(cell)}: ${error.message}`));
    }
  }
  t.note(`${cells.length} cells`);
  t.expect("cells that failed", failed, []);
  const wire = new Wire(capture.frames());
  const each = (cell: Cell) => payloadSizes(cell).length;
  t.expect(
    "ESP packets by cell and sender",
    cells.map((cell) => (["ours", "kernel"] as const).map((sender) => wire.packets(cellSpi(cell, sender)))),
    cells.map((cell) => [each(cell), each(cell)]),
  );
  t.expect("fragments", wire.fragments, 0);
  const encrypted = cells.filter(({ suite }) => !suite.startsWith("null-"));
  const readable = encrypted.filter(
    (cell) => wire.has(cellSpi(cell, "ours"), MARKER) || wire.has(cellSpi(cell, "kernel"), MARKER),
  );
  t.expect("encrypted cells with plaintext on the wire", readable.map(cellName), []);
}

export const interop: readonly Scenario[] = (["tunnel", "transport", "beet"] as const).map(matrix);
