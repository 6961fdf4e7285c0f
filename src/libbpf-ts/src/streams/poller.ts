import koffi from "koffi";
import { failure } from "../fail.js";
import { closeFd, lastErrno } from "../libc.js";

// sys/epoll.h
const EPOLL_CTL_ADD = 1;
const EPOLL_CTL_DEL = 2;
const EPOLL_CTL_MOD = 3;
const EPOLLIN = 1;
const EPOLLONESHOT = 1 << 30;
const EPOLL_CLOEXEC = 0o2000000;
/** struct epoll_event is packed on x86-64 only. */
const DATA_OFFSET = process.arch === "x64" ? 4 : 8;
const EVENT_BYTES = DATA_OFFSET + 8;
const MAX_EVENTS = 64;
/** A wait ends by itself after this many ms, so that a worker thread that is terminated is not held up for longer. */
const LONGEST_WAIT_MS = 1000;

interface AsyncWait {
  async(
    fd: number,
    events: Buffer,
    max: number,
    ms: number,
    done: (error: unknown, count: number) => void,
  ): void;
}

const libc = koffi.load("libc.so.6");
const epollCreate = libc.func("int epoll_create1(int flags)") as unknown as (flags: number) => number;
const epollControl = libc.func("int epoll_ctl(int epoll, int op, int fd, void *event)") as unknown as (
  epoll: number,
  op: number,
  fd: number,
  event: Buffer,
) => number;
const epollWait = libc.func(
  "int epoll_wait(int epoll, void *events, int max, int ms)",
) as unknown as AsyncWait;
const makeEventFd = libc.func("int eventfd(unsigned int value, int flags)") as unknown as (
  value: number,
  flags: number,
) => number;
const writeEventFd = libc.func("int eventfd_write(int fd, uint64_t value)") as unknown as (
  fd: number,
  value: number,
) => number;
const readEventFd = libc.func("int eventfd_read(int fd, void *value)") as unknown as (
  fd: number,
  value: Buffer,
) => number;

function event(fd: number, flags: number): Buffer {
  const bytes = Buffer.alloc(EVENT_BYTES);
  bytes.writeUInt32LE(flags, 0);
  bytes.writeUInt32LE(fd, DATA_OFFSET);
  return bytes;
}

/**
 * Waits for descriptors that Node cannot wait for. All of a thread share one epoll instance and, while somebody
 * waits, one thread of libuv's pool; the process stays alive as long.
 */
class Poller {
  readonly #epoll: number;
  readonly #wake: number;
  readonly #waiters = new Map<number, () => void>();
  readonly #added = new Set<number>();
  readonly #events = Buffer.alloc(MAX_EVENTS * EVENT_BYTES);
  #isWaiting = false;

  constructor() {
    this.#epoll = epollCreate(EPOLL_CLOEXEC);
    if (this.#epoll < 0) throw failure("create an epoll instance", lastErrno());
    this.#wake = makeEventFd(0, EPOLL_CLOEXEC);
    if (this.#wake < 0) {
      closeFd(this.#epoll);
      throw failure("create an eventfd", lastErrno());
    }
    epollControl(this.#epoll, EPOLL_CTL_ADD, this.#wake, event(this.#wake, EPOLLIN));
    // At exit libuv waits for its threads, so a wait that nothing ends would hold the process.
    process.on("exit", () => writeEventFd(this.#wake, 1));
  }

  /** Resolves when the descriptor is readable, or is removed. One waiter a descriptor. */
  readable(fd: number): Promise<void> {
    const op = this.#added.has(fd) ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;
    if (epollControl(this.#epoll, op, fd, event(fd, EPOLLIN | EPOLLONESHOT)) < 0)
      return Promise.reject(failure("wait for events", lastErrno()));
    this.#added.add(fd);
    return new Promise((resolve) => {
      this.#waiters.set(fd, resolve);
      this.#wait();
    });
  }

  /** Ends the wait for a descriptor. Call it before the descriptor is closed. */
  remove(fd: number): void {
    if (this.#added.delete(fd)) epollControl(this.#epoll, EPOLL_CTL_DEL, fd, event(fd, 0));
    this.release(fd);
  }

  /** Lets a waiter go on though nothing happened. */
  release(fd: number): void {
    const waiter = this.#waiters.get(fd);
    this.#waiters.delete(fd);
    waiter?.();
    if (this.#waiters.size === 0 && this.#isWaiting) writeEventFd(this.#wake, 1);
  }

  #wait(): void {
    if (this.#isWaiting) return;
    this.#isWaiting = true;
    epollWait.async(this.#epoll, this.#events, MAX_EVENTS, LONGEST_WAIT_MS, (_error, count) => {
      this.#isWaiting = false;
      // A signal (EINTR) gives -1: nothing happened, wait again.
      for (let i = 0; i < count; i++)
        this.#happened(this.#events.readUInt32LE(i * EVENT_BYTES + DATA_OFFSET));
      if (this.#waiters.size > 0) this.#wait();
    });
  }

  #happened(fd: number): void {
    if (fd === this.#wake) {
      readEventFd(this.#wake, Buffer.alloc(8));
      return;
    }
    const waiter = this.#waiters.get(fd);
    this.#waiters.delete(fd);
    waiter?.();
  }
}

let shared: Poller | undefined;

/** The thread's own poller, made at first use. */
export function poller(): Poller {
  shared ??= new Poller();
  return shared;
}
