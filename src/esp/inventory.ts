/** The SAD and the SPD as they are shown: no keys. */
import type { CheckedConnection } from "./connection.js";
import { type Lifetime, type Stage, stageOf } from "./lifetime.js";
import type { Encapsulation, Mode } from "./packet.js";
import type { Sa, SaSet } from "./sa-registry.js";
import type { Selector } from "./selector.js";
import type { SuiteName } from "./suite.js";

export interface ShownState {
  readonly ifId: number;
  readonly direction: "in" | "out";
  /** Outer addresses. */
  readonly source: string;
  readonly destination: string;
  readonly spi: number;
  readonly mode: Mode;
  readonly suite: SuiteName;
  readonly esn: boolean;
  readonly replayWindow: number;
  readonly encapsulation: Encapsulation;
  /** UDP ports. */
  readonly sourcePort: number;
  readonly destinationPort: number;
  /** BEET: addresses of the inner packets. */
  readonly inner: { readonly source: string; readonly destination: string } | null;
  readonly padTo: number;
  readonly lifetime: Lifetime;
  readonly stage: Stage;
  readonly packets: number;
  readonly bytes: number;
  /** The number last sent, or the highest accepted. */
  readonly sequence: number;
  /** Milliseconds since the epoch. */
  readonly added: number;
}

export interface ShownPolicy {
  readonly ifId: number;
  readonly direction: "in" | "out";
  readonly selector: Selector;
  readonly priority: number;
  readonly action: "allow" | "block";
  readonly template: { readonly source: string; readonly destination: string; readonly mode: Mode } | null;
}

type Ends<T> = { readonly local: T; readonly remote: T };

/** Local and remote are source and destination of what goes out, and the other way round of what comes in. */
const oriented = <T>({ local, remote }: Ends<T>, direction: "in" | "out"): { source: T; destination: T } =>
  direction === "out" ? { source: local, destination: remote } : { source: remote, destination: local };

/** @param now of the SAs' Clock */
export function showStates(
  connection: CheckedConnection,
  { out, in: inbound }: SaSet,
  now: number,
): ShownState[] {
  const show = (sa: Sa, direction: "in" | "out") => showState(connection, sa, direction, now);
  return [show(out, "out"), ...inbound.map((sa) => show(sa, "in"))];
}

function showState(connection: CheckedConnection, sa: Sa, direction: "in" | "out", now: number): ShownState {
  const { ifId, mode, suite, esn, replayWindow, encapsulation, padTo, lifetime, inner } = connection;
  const { localAddress, remoteAddress, localPort, remotePort } = connection;
  const ports = oriented({ local: localPort, remote: remotePort }, direction);
  return {
    ifId,
    direction,
    ...oriented({ local: localAddress.text, remote: remoteAddress.text }, direction),
    spi: sa.spi,
    mode,
    suite,
    esn,
    replayWindow,
    encapsulation,
    sourcePort: ports.source,
    destinationPort: ports.destination,
    inner: inner && oriented(inner, direction),
    padTo,
    lifetime,
    stage: stageOf(lifetime, sa.traffic, ageOf(sa, now)),
    packets: sa.traffic.packets,
    bytes: sa.traffic.bytes,
    sequence: sa.traffic.sequence,
    added: sa.added,
  };
}

/** Seconds since an SA was added. @param now of its Clock */
export const ageOf = ({ addedAt }: Sa, now: number): number => (now - addedAt) / 1000;

export function showPolicies(connection: CheckedConnection): ShownPolicy[] {
  const { ifId, mode, policies, localAddress, remoteAddress } = connection;
  return policies.map(({ direction, selector, priority, action }) => ({
    ifId,
    direction,
    selector,
    priority,
    action,
    template:
      action === "block"
        ? null
        : { ...oriented({ local: localAddress.text, remote: remoteAddress.text }, direction), mode },
  }));
}
