import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { espSpi } from "../../capture.js";
import type { Namespace } from "../../namespace.js";
import { PacketSocket } from "../../netns-socket.js";
import type { Branch } from "../contract/subject.js";
import { openEsp } from "./esp-open.js";

/** What a tenant's datagrams carry, and nothing else may. */
export const markOf = ({ name }: Branch): string => `tenant ${name} only `;

/**
 * Every wire of a hub, watched. Each branch's wire may carry the ESP of its own SAs, the hub's way to the rest of the world
 * none. Where the keys are ours (userspace), each ESP frame of the hub is opened and its tenant is looked at.
 */
export class Wires {
  readonly #branches: readonly Branch[];
  readonly #sockets: readonly { branch: Branch | null; socket: PacketSocket }[];
  readonly #keys = new Map<number, Buffer>();
  /**
   * Frames so far: `clear` carry a tenant's mark unencrypted; `wrong` are ESP under the SA of another peer than the wire's, or
   * with another tenant's packet in them; `right` are the hub's other ESP frames.
   */
  readonly total = { clear: 0, wrong: 0, right: 0 };

  constructor(hub: Namespace, branches: readonly Branch[], folder: string) {
    this.#branches = branches;
    this.#sockets = [
      ...branches.map((branch) => ({ branch, socket: new PacketSocket(hub.path, `v0${branch.ifId}`) })),
      { branch: null, socket: new PacketSocket(hub.path, "world") },
    ];
    for (const { name, spi } of branches) {
      const path = join(folder, "keys", `${name}-to-peer.key`);
      if (existsSync(path)) this.#keys.set(spi, Buffer.from(readFileSync(path, "utf8"), "hex"));
    }
  }

  /** Judges the frames since the last look. @returns how many were right, by the tenant's name */
  look(): Record<string, number> {
    const right: Record<string, number> = {};
    for (const { branch, socket } of this.#sockets)
      for (const frame of socket.drain()) {
        const verdict = this.#judge(frame, branch);
        if (verdict === "other") continue;
        this.total[verdict]++;
        if (verdict === "right" && branch) right[branch.name] = (right[branch.name] ?? 0) + 1;
      }
    return right;
  }

  /** "other": the peer's, or nothing of ours. */
  #judge(frame: Buffer, wire: Branch | null): keyof Wires["total"] | "other" {
    if (this.#branches.some((branch) => frame.includes(markOf(branch)))) return "clear";
    const opened = openEsp(frame, this.#keys);
    const spi = opened?.spi ?? espSpi(frame);
    const owner = this.#branches.find((branch) => branch.spi === spi);
    if (owner === undefined) return "other";
    const others = this.#branches.filter((branch) => branch !== owner);
    return wire === owner && !others.some((branch) => opened?.inner.includes(markOf(branch)))
      ? "right"
      : "wrong";
  }

  close(): void {
    for (const { socket } of this.#sockets) socket.close();
  }
}
