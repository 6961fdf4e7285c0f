/** A steering program of the user's that cannot be used as it is; the message says what to change. */
export class ProgramError extends Error {
  override readonly name = "ProgramError";
}

/** The verifier refused a program; the message has the C line and the lines of the log that tell why. */
export class ProgramRefusedError extends Error {
  override readonly name = "ProgramRefusedError";
}
