/** A simulation that cannot be made, or could not be finished. */
export class SimulationError extends Error {
  override readonly name = "SimulationError";
}
