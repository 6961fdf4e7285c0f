/** The demo cannot go on; the message says at what it stopped. */
export class DemoError extends Error {
  override readonly name = "DemoError";
}
