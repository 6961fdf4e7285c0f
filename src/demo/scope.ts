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
