import type { ChildProcess } from "node:child_process";
import { readFileSync } from "node:fs";

/** signal(7) */
const SIGNAL_NUMBERS: Partial<Record<NodeJS.Signals, number>> = { SIGHUP: 1, SIGINT: 2, SIGTERM: 15 };
const SIGNALS = Object.keys(SIGNAL_NUMBERS) as NodeJS.Signals[];

/** In the order in which they were opened. */
const open = new Set<Scope>();

function onSignal(signal: NodeJS.Signals): void {
  for (const scope of [...open].reverse()) scope.close();
  process.exit(128 + (SIGNAL_NUMBERS[signal] ?? 0));
}

/** Undoes things in the reverse of the order in which they were done, also when the process is interrupted. */
export class Scope {
  readonly #undo: (() => void)[] = [];

  constructor() {
    if (open.size === 0) for (const signal of SIGNALS) process.on(signal, onSignal);
    open.add(this);
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
    for (let undo = this.#undo.pop(); undo; undo = this.#undo.pop()) {
      try {
        undo();
      } catch (error) {
        console.error(`while cleaning up: ${error instanceof Error ? error.message : error}`);
      }
    }
    open.delete(this);
    if (open.size === 0) for (const signal of SIGNALS) process.off(signal, onSignal);
  }
}

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
