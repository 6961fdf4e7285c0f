import { type ChildProcess, fork } from "node:child_process";
import { modulePath } from "../sys/paths.js";
import type { Scope } from "../sys/scope.js";
import { DemoError } from "./error.js";

export type AgentRequest =
  | { operation: "tcpListen" | "udpListen"; address: string; port: number }
  | { operation: "tcpTransfer"; from: string; to: string; port: number; bytes: number }
  | { operation: "udpSend"; from: string; to: string; port: number; packets: number; size: number }
  | { operation: "counted" };

/** Bytes (TCP) or datagrams (UDP) that arrived, by "udp ADDRESS PORT" or "tcp ADDRESS PORT". */
export type Counted = Record<string, number>;

/** A traffic agent in a network namespace. */
export class Agent {
  readonly #child: ChildProcess;
  readonly #pending = new Map<
    number,
    { resolve: (value: unknown) => void; reject: (error: Error) => void }
  >();
  #next = 1;

  private constructor(child: ChildProcess, netns: string) {
    this.#child = child;
    child.on("message", ({ id, result, error }: { id: number; result?: unknown; error?: string }) => {
      const waiting = this.#pending.get(id);
      this.#pending.delete(id);
      if (error === undefined) waiting?.resolve(result);
      else waiting?.reject(new DemoError(`traffic in ${netns}: ${error}`));
    });
    child.on("exit", (code) => {
      for (const { reject } of this.#pending.values())
        reject(new DemoError(`the traffic agent of ${netns} ended (${code})`));
    });
  }

  static async start(netns: string, scope: Scope): Promise<Agent> {
    const child = fork(modulePath("demo/agent.js"), [netns]);
    scope.own(child);
    const agent = new Agent(child, netns);
    await agent.#answer(0);
    return agent;
  }

  async ask<T = void>(request: AgentRequest): Promise<T> {
    const id = this.#next++;
    this.#child.send({ id, request });
    return (await this.#answer(id)) as T;
  }

  #answer(id: number): Promise<unknown> {
    return new Promise((resolve, reject) => this.#pending.set(id, { resolve, reject }));
  }
}
