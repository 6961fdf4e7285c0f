import type { ChildProcess } from "node:child_process";
import { readFileSync } from "node:fs";

/** Undoes things in the reverse of the order in which they were done, also when the process is interrupted. */
export class Scope {
  readonly #undo: (() => void)[] = [];
  readonly #onSignal = (signal: NodeJS.Signals) => {
    this.close();
    process.exit(128 + (SIGNAL_NUMBERS[signal] ?? 0));
  };

  constructor() {
    for (const signal of Object.keys(SIGNAL_NUMBERS) as NodeJS.Signals[]) process.on(signal, this.#onSignal);
  }

  /** Registers what undoes a step; synchronous, so that it can run in a signal handler. Register before the step. */
  defer(undo: () => void): void {
    this.#undo.push(undo);
  }

  /** Ends a child process with the scope. */
  own(child: ChildProcess): void {
    this.defer(() => {
      if (child.pid === undefined || child.exitCode !== null || child.signalCode !== null) return;
      child.kill("SIGKILL");
      awaitEnd(child.pid);
    });
  }

  /** Undoes everything; what fails is reported and does not keep the rest from being undone. */
  close(): void {
    for (const signal of Object.keys(SIGNAL_NUMBERS) as NodeJS.Signals[]) process.off(signal, this.#onSignal);
    for (let undo = this.#undo.pop(); undo; undo = this.#undo.pop()) {
      try {
        undo();
      } catch (error) {
        console.error(`while cleaning up: ${error instanceof Error ? error.message : error}`);
      }
    }
  }
}

/** signal(7) */
const SIGNAL_NUMBERS: Partial<Record<NodeJS.Signals, number>> = { SIGHUP: 1, SIGINT: 2, SIGTERM: 15 };

const PATIENCE_MS = 2000;
const STEP_MS = 5;

/** Waits, without the event loop, until a process that was killed is gone or waits for us to collect it. */
function awaitEnd(pid: number): void {
  const sleeper = new Int32Array(new SharedArrayBuffer(4));
  for (let waited = 0; waited < PATIENCE_MS; waited += STEP_MS) {
    let state: string | undefined;
    try {
      // proc_pid_stat(5): the state follows the name, which is in parentheses.
      state = readFileSync(`/proc/${pid}/stat`, "latin1").split(") ").at(-1)?.[0];
    } catch {
      return;
    }
    if (state === "Z") return;
    Atomics.wait(sleeper, 0, 0, STEP_MS);
  }
}
