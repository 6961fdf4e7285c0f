/** A packet socket in place of the TUN device: what one end writes the other reads as one frame, as with a TUN device. */
import koffi from "koffi";
import { check, close, O_CLOEXEC, O_NONBLOCK, read, write } from "../../src/sys/libc.js";
import { PollSet } from "../../src/sys/poll-set.js";
import { Slab } from "../../src/sys/slab.js";

const AF_UNIX = 1;
const SOCK_SEQPACKET = 5;
const CAPACITY = 70_000;

const socketpair: (family: number, type: number, protocol: number, fds: number) => number = koffi
  .load("libc.so.6")
  .func("socketpair", "int", ["int", "int", "int", "uintptr_t"]);

export class FakeTun {
  /** The data path's end. */
  readonly fd: number;
  readonly #fd: number;
  readonly #slab = new Slab(CAPACITY);
  readonly #readable: PollSet;
  readonly #open = new Set<number>();

  constructor() {
    const fds = new Slab(8);
    check(socketpair(AF_UNIX, SOCK_SEQPACKET | O_NONBLOCK | O_CLOEXEC, 0, fds.base), "making a socket pair");
    this.fd = fds.view.getInt32(0, true);
    this.#fd = fds.view.getInt32(4, true);
    this.#open.add(this.fd).add(this.#fd);
    this.#readable = PollSet.forReading([this.#fd]);
  }

  /** What the stack would send. @returns false when the data path is behind and the queue full */
  send(frame: Uint8Array): boolean {
    this.#slab.bytes.set(frame);
    return write(this.#fd, this.#slab.base, frame.length) === frame.length;
  }

  /** What the data path hands to the stack. Waits for it; @returns null when nothing came in `timeout` milliseconds. */
  receive(timeout = 5000): Buffer | null {
    this.#readable.wait(timeout);
    const length = read(this.#fd, this.#slab.base, CAPACITY);
    return length > 0 ? Buffer.from(this.#slab.bytes.slice(0, length)) : null;
  }

  /** As when the link is deleted: the data path's next read finds the end. */
  hangUp(): void {
    this.#close(this.#fd);
  }

  close(): void {
    for (const fd of this.#open) this.#close(fd);
  }

  #close(fd: number): void {
    if (this.#open.delete(fd)) close(fd);
  }
}
