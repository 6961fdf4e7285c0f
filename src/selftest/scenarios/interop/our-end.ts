import { type Gateway, startGateway } from "../../../backends/userspace/gateway.js";
import { parsePolicy } from "../../../config/index.js";
import type { Policy } from "../../../config/policy.js";
import type { ConnectionConfig } from "../../../esp/index.js";
import { findIfindex } from "../../../sys/ifindex.js";
import type { Namespace } from "../../namespace.js";
import {
  type Cell,
  cellAddress,
  cellSpi,
  ESP_PORT,
  LINK,
  outerAddress,
  prefix,
  UNDERLAY_MTU,
} from "./cells.js";
import type { CellKeys } from "./kernel-end.js";

/** Behind the kernel's window, whose size must not matter. */
const REPLAY_WINDOW = 128;
/** Routes of ESP packets that have the addresses of those inside. */
const DIRECT_TABLE = 100;

function connection(cell: Cell, keys: CellKeys, link: number): ConnectionConfig {
  const { index, suite, mode, encapsulation, esn } = cell;
  const inner = { local: cellAddress(cell, "ours"), remote: cellAddress(cell, "kernel") };
  return {
    ifId: index,
    // A route to the peer's address leads into our own interface in transport mode: the link tells the other one.
    link,
    local: outerAddress(cell, "ours"),
    localPort: ESP_PORT,
    remote: outerAddress(cell, "kernel"),
    remotePort: ESP_PORT,
    suite,
    mode,
    encapsulation,
    esn,
    ...(mode === "beet" ? { inner } : {}),
    out: { spi: cellSpi(cell, "ours"), key: Buffer.from(keys.ours) },
    in: { spi: cellSpi(cell, "kernel"), key: Buffer.from(keys.kernel) },
    replayWindow: REPLAY_WINDOW,
  };
}

function steeringPolicy(cells: readonly Cell[]): Policy {
  const connections = cells.map((cell) => {
    const bits = cell.inner === 4 ? 32 : 128;
    return `  cell-${cell.index}: {if_id: ${cell.index}, subnets: ["${cellAddress(cell, "kernel")}/${bits}"]}`;
  });
  const text = `version: 1\ninterface: {name: ipsec0}\nconnections:\n${connections.join("\n")}\n`;
  const { policy, diagnostics } = parsePolicy(text, "interop");
  if (policy === null) throw new Error(`the matrix's policy: ${diagnostics[0]?.message}`);
  return policy;
}

/** Starts the userspace data path with every cell as a connection of one interface, ipsec0. */
export async function startOurEnd(
  namespace: Namespace,
  cells: readonly Cell[],
  keys: readonly CellKeys[],
): Promise<Gateway> {
  const gateway = await startGateway({
    netns: namespace.handle,
    policy: steeringPolicy(cells),
    connections: () => {
      const link = findIfindex("v0") ?? 0;
      return cells.map((cell, at) => connection(cell, keys[at] as CellKeys, link));
    },
    mtu: UNDERLAY_MTU,
  });
  const routes = ([4, 6] as const).flatMap((family) => [
    `route add ${prefix("kernel", family)} dev ipsec0 metric 10`,
    `route add ${prefix("kernel", family)} via ${LINK.kernel[family]} dev v0 metric 100`,
  ]);
  // For IPv6 the link is no more than a preference once the source address is given (net/ipv6/route.c,
  // ip6_route_output_flags): rules say what must not be routed into the interface.
  const direct = `route add ${prefix("kernel", 6)} via ${LINK.kernel[6]} dev v0 table ${DIRECT_TABLE}`;
  await namespace.ip([...routes, direct].join("\n"));
  for (const what of ["ipproto 50", `ipproto 17 dport ${ESP_PORT}`]) {
    const rule = `-6 rule add ${what} lookup ${DIRECT_TABLE}`;
    const { status, stderr } = await namespace.exec("ip", ...rule.split(" "));
    if (status !== 0) throw new Error(`ip ${rule}: ${stderr}`);
  }
  return gateway;
}
