/**
 * Runs steps that leave traces outside of the process. A step registers how to take its trace back; when a later one
 * throws, what was registered runs, last first, and the error goes on to the caller.
 */
export function undoable<T>(work: (onFailure: (undo: () => void) => void) => T): T {
  const undos: (() => void)[] = [];
  try {
    return work((undo) => undos.push(undo));
  } catch (error) {
    for (const undo of undos.reverse()) {
      try {
        undo();
      } catch {
        // The first error tells what went wrong; the next apply or remove cleans up the rest.
      }
    }
    throw error;
  }
}
