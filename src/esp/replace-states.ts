/**
 * Makes the next set of states out of the one before. States that are left out are closed only once all new ones exist,
 * so that a failure changes nothing.
 * @param make makes a state, taking over what lasts from the state of the same id where there is one
 */
export function replaceStates<Spec extends { readonly id: number }, S>(
  before: ReadonlyMap<number, S>,
  specs: readonly Spec[],
  make: (spec: Spec, kept: S | undefined) => S,
  close: (state: S) => void,
): Map<number, S> {
  const next = new Map<number, S>();
  try {
    for (const spec of specs) next.set(spec.id, make(spec, before.get(spec.id)));
  } catch (error) {
    for (const [id, state] of next) if (!before.has(id)) close(state);
    throw error;
  }
  for (const [id, state] of before) if (!next.has(id)) close(state);
  return next;
}
