import { ClosedError } from "./errors.js";
import { closeFd } from "./libc.js";

/** Where a map, program or link gets its file descriptor from. */
export interface FdSource {
  /** @throws ClosedError, StateError */
  readonly fd: number;
  close(): void;
}

/** A descriptor that is ours to close. */
export class OwnedFd implements FdSource {
  #fd: number;
  readonly #what: string;

  constructor(fd: number, what: string) {
    this.#fd = fd;
    this.#what = what;
  }

  get fd(): number {
    if (this.#fd < 0) throw new ClosedError("use a descriptor", this.#what);
    return this.#fd;
  }

  close(): void {
    if (this.#fd < 0) return;
    const fd = this.#fd;
    this.#fd = -1;
    closeFd(fd);
  }
}
