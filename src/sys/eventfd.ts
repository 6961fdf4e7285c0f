import { check, close, eventfd, O_CLOEXEC, O_NONBLOCK, read, write } from "./libc.js";
import { Slab } from "./slab.js";

/** A non-blocking eventfd(2): wakes a thread that sleeps in poll(2). */
export class EventFd {
  readonly fd: number;
  readonly #counter = new Slab(8);

  /** @param fd an eventfd opened by another thread of this process; without it a new one is made. */
  constructor(fd?: number) {
    this.fd = fd ?? check(eventfd(0, O_NONBLOCK | O_CLOEXEC), "making an eventfd");
  }

  /** Makes the descriptor readable. */
  wake(): void {
    this.#counter.view.setBigUint64(0, 1n, true);
    // EAGAIN would mean 2^64 - 2 wakes are pending: the sleeper will wake all the same.
    write(this.fd, this.#counter.base, 8);
  }

  /** Takes every pending wake, so that poll(2) sleeps again. */
  clear(): void {
    read(this.fd, this.#counter.base, 8);
  }

  close(): void {
    close(this.fd);
  }
}
