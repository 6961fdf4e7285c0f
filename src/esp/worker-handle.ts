import { MessageChannel, type MessagePort, Worker } from "node:worker_threads";
import { EventFd } from "../sys/eventfd.js";
import {
  type Answer,
  type Message,
  RETIRE,
  type StateSpec,
  type Table,
  type WorkerSetup,
} from "./messages.js";
import { Counters } from "./statistics.js";

/** A worker of the data path failed, or could not do what it was asked. */
export class WorkerError extends Error {
  override readonly name = "WorkerError";
}

interface Waiting {
  resolve(): void;
  reject(error: Error): void;
}

/** What stops each of the workers. process.exit() waits for them, and one asleep in poll(2) would never end. */
const running = new Set<() => void>();

function stopAll(): void {
  for (const stop of running) stop();
}

/** The main thread's side of a worker: sends it tables, and can stop it whatever it is doing. */
export class WorkerHandle<S extends StateSpec> {
  readonly counters: Counters;
  /** Settles when the worker has ended: rejects when it ended by an error. */
  readonly ended: Promise<void>;

  readonly #name: string;
  readonly #wake = new EventFd();
  readonly #stop = new Int32Array(new SharedArrayBuffer(Int32Array.BYTES_PER_ELEMENT));
  readonly #mailbox: MessagePort;
  readonly #waiting: Waiting[] = [];
  #running = true;

  constructor(
    name: string,
    module: string,
    shared: Pick<WorkerSetup, "tunFd" | "crypto" | "offload" | "sequence">,
  ) {
    const channel = new MessageChannel();
    const counters = Counters.allocate();
    this.#name = name;
    this.counters = new Counters(counters);
    this.#mailbox = channel.port1;
    const setup: WorkerSetup = {
      ...shared,
      wakeFd: this.#wake.fd,
      stop: this.#stop.buffer as SharedArrayBuffer,
      counters,
      mailbox: channel.port2,
    };
    this.#mailbox.on("message", (answer: Answer) => this.#settle(answer));
    const worker = new Worker(module, { name, workerData: setup, transferList: [channel.port2] });
    this.ended = new Promise((resolve, reject) => {
      let failure: WorkerError | null = null;
      worker.on("error", (cause) => {
        failure = new WorkerError(`${name}: ${cause.message}`, { cause });
      });
      worker.on("exit", () => {
        this.#end(failure ?? this.#hasEnded());
        if (failure === null) resolve();
        else reject(failure);
      });
    });
    // Whoever cares awaits `ended`; nobody doing so is no reason to end the process.
    this.ended.catch(() => {});
    if (running.size === 0) process.on("exit", stopAll);
    running.add(this.#requestStop);
  }

  /** Hands over a table; its keys are transferred, so they are gone from this thread. Resolves when it is in force. */
  replace(table: Table<S>): Promise<void> {
    return this.#send(
      table,
      table.states.flatMap(({ keymat }) => (keymat === null ? [] : [keymat.buffer])),
    );
  }

  /** Has it let go of the table before, of another epoch. Resolves once it has: no frame of that is sent any more. */
  retire(): Promise<void> {
    return this.#send(RETIRE, []);
  }

  #send(message: Message<S>, keys: ArrayBuffer[]): Promise<void> {
    if (!this.#running) return Promise.reject(this.#hasEnded());
    return new Promise((resolve, reject) => {
      this.#waiting.push({ resolve, reject });
      this.#mailbox.postMessage(message, keys);
      this.#wake.wake();
    });
  }

  /** Ends the worker after the packet in hand. */
  async stop(): Promise<void> {
    this.#requestStop();
    await this.ended;
  }

  readonly #requestStop = (): void => {
    if (!this.#running) return;
    Atomics.store(this.#stop, 0, 1);
    this.#wake.wake();
  };

  #settle(answer: Answer): void {
    const waiting = this.#waiting.shift();
    if (answer === null) waiting?.resolve();
    else waiting?.reject(new WorkerError(`${this.#name}: ${answer}`));
  }

  #hasEnded(): WorkerError {
    return new WorkerError(`${this.#name}: the data path has ended; start another`);
  }

  #end(reason: WorkerError): void {
    this.#running = false;
    running.delete(this.#requestStop);
    if (running.size === 0) process.off("exit", stopAll);
    for (const { reject } of this.#waiting.splice(0)) reject(reason);
    this.#mailbox.close();
    this.#wake.close();
  }
}
