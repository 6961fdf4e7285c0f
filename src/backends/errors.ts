/** A backend could not do what was asked; the message says what to do next. */
export class BackendError extends Error {
  override readonly name = "BackendError";
}
