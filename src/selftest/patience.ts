/** How long what has to come may take: emulated and shared CPUs are slow, and only a failure waits so long. */
export const PATIENCE_MS = 10_000;

/** How long to wait for what is expected not to come. */
export const LOSS_MS = 300;
