import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { modulePath } from "../../sys/paths.js";
import type { SteeringReply, SteeringRequest } from "./messages.js";

const MAIN = modulePath("selftest/steering/main.js");

/**
 * A process that applies policies, reads their status and unloads them, in any network namespace: the command line
 * without its start-up time, which under emulation is seconds. It is started by the first request, does not keep
 * this process alive, and ends with it.
 */
export class SteeringProcess {
  readonly #env: Readonly<Record<string, string>>;
  #child: ChildProcess | null = null;
  #queue: Promise<unknown> = Promise.resolve();

  /** @param env set for the process in addition to this one's environment */
  constructor(env: Readonly<Record<string, string>> = {}) {
    this.#env = env;
  }

  /** @throws Error with the backend's words, or when the process ends before it answers */
  ask(request: SteeringRequest): Promise<unknown> {
    const answer = this.#queue.then(() => this.#answer(request));
    this.#queue = answer.catch(() => {});
    return answer;
  }

  /** Id of the process; undefined where none runs. */
  get pid(): number | undefined {
    return this.#child === null || hasEnded(this.#child) ? undefined : this.#child.pid;
  }

  /** Ends the process; another request starts a new one. */
  async end(): Promise<void> {
    const child = this.#child;
    this.#child = null;
    if (child === null || hasEnded(child)) return;
    const ended = once(child, "exit");
    child.ref();
    child.kill("SIGKILL");
    await ended;
  }

  async #answer(request: SteeringRequest): Promise<unknown> {
    const child = this.#running();
    const over = new AbortController();
    const onExit = () =>
      over.abort(new Error(`it ended by ${child.signalCode ?? `status ${child.exitCode}`}`));
    child.once("exit", onExit);
    child.ref();
    child.channel?.ref();
    try {
      const reply = once(child, "message", { signal: over.signal });
      child.send(request);
      const [message] = (await reply) as [SteeringReply];
      if ("error" in message) throw new Error(message.error);
      return message.result;
    } catch (cause) {
      if (!over.signal.aborted) throw cause;
      throw new Error(`the steering process: ${(over.signal.reason as Error).message}`, { cause });
    } finally {
      child.off("exit", onExit);
      child.channel?.unref();
      child.unref();
    }
  }

  #running(): ChildProcess {
    if (this.#child === null || hasEnded(this.#child)) {
      this.#child = spawn(process.execPath, [MAIN], {
        stdio: ["ignore", "ignore", "inherit", "ipc"],
        serialization: "advanced", // a policy's flows are typed arrays
        env: { ...process.env, ...this.#env },
      });
    }
    return this.#child;
  }
}

function hasEnded(child: ChildProcess): boolean {
  return child.exitCode !== null || child.signalCode !== null;
}
