import { constants } from "node:os";
import { errno, POLLERR, POLLHUP, POLLIN, POLLNVAL, POLLOUT, poll, SystemError } from "./libc.js";
import { Slab } from "./slab.js";

/** struct pollfd: int fd, short events, short revents. */
const POLLFD_SIZE = 8;
const EVENTS = 4;
const REVENTS = 6;

/** Descriptors to sleep on together. */
export class PollSet {
  readonly size: number;
  readonly #slab: Slab;

  private constructor(fds: readonly number[], events: readonly number[]) {
    this.size = fds.length;
    this.#slab = new Slab(fds.length * POLLFD_SIZE);
    fds.forEach((fd, index) => {
      this.#slab.view.setInt32(index * POLLFD_SIZE, fd, true);
      this.#slab.view.setInt16(index * POLLFD_SIZE + EVENTS, events[index] ?? POLLIN, true);
    });
  }

  /** Sleeps until one of the descriptors is readable. */
  static forReading(fds: readonly number[]): PollSet {
    return new PollSet(fds, []);
  }

  /** Sleeps until `fd` is writable or `wake` readable. */
  static forWriting(wake: number, fd: number): PollSet {
    return new PollSet([wake, fd], [POLLIN, POLLOUT]);
  }

  /** Sleeps for at most `timeout` milliseconds, -1 for no limit. A signal may end it with nothing ready. */
  wait(timeout: number): void {
    if (poll(this.#slab.base, this.size, timeout) >= 0) return;
    const number = errno();
    if (number !== constants.errno.EINTR) throw new SystemError("waiting for packets", number);
    for (let index = 0; index < this.size; index++)
      this.#slab.view.setInt16(index * POLLFD_SIZE + REVENTS, 0, true);
  }

  /**
   * Whether the last wait ended with this descriptor ready, or failed: the read or write that follows tells which.
   * @throws Error when it was closed meanwhile, which would make every wait return at once.
   */
  ready(index: number): boolean {
    const events = this.#slab.view.getInt16(index * POLLFD_SIZE + REVENTS, true);
    if ((events & POLLNVAL) !== 0)
      throw new Error("waiting for packets: a descriptor was closed while in use");
    return (events & (POLLIN | POLLOUT | POLLERR | POLLHUP)) !== 0;
  }

  fd(index: number): number {
    return this.#slab.view.getInt32(index * POLLFD_SIZE, true);
  }
}
