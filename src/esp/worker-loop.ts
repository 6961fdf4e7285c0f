import { receiveMessageOnPort } from "node:worker_threads";
import { EventFd } from "../sys/eventfd.js";
import { PollSet } from "../sys/poll-set.js";
import { takeLongTurns } from "../sys/scheduling.js";
import {
  type Answer,
  type Message,
  RETIRE,
  type StateSpec,
  type Table,
  type WorkerSetup,
} from "./messages.js";

export interface Duty<S extends StateSpec> {
  /** Takes over a table, or throws and stays with the one before. @returns the descriptors to read from now on */
  apply(table: Table<S>): readonly number[];
  /** Serves what is there, then lets go of the table before. */
  retire(): void;
  /** Reads what is there, within bounds, so that the mailbox gets its turn. */
  serve(fd: number): void;
  /** Frees what the collector does not know of. */
  close(): void;
}

/**
 * A worker's life: sleep in poll(2) until a descriptor is readable or the main thread has a message; until told to stop.
 * A worker that slept in a plain read(2) could not be stopped at all: Worker.terminate() cannot interrupt a system call.
 */
export function run<S extends StateSpec>(setup: WorkerSetup, duty: Duty<S>): void {
  const wake = new EventFd(setup.wakeFd);
  const stop = new Int32Array(setup.stop);
  let sleep = PollSet.forReading([wake.fd]);
  // The queues between the threads stay short: what one has written is in the cache when the next reads it.
  takeLongTurns();
  try {
    while (Atomics.load(stop, 0) === 0) {
      sleep.wait(-1);
      if (sleep.ready(0)) {
        wake.clear();
        sleep = readMailbox(setup, duty, wake.fd) ?? sleep;
        // The descriptors may be others now.
        continue;
      }
      for (let index = 1; index < sleep.size; index++) {
        if (sleep.ready(index)) duty.serve(sleep.fd(index));
      }
    }
  } finally {
    duty.close();
    setup.mailbox.close();
  }
}

/** @returns the set to sleep on from now on, or null for the same */
function readMailbox<S extends StateSpec>(setup: WorkerSetup, duty: Duty<S>, wakeFd: number): PollSet | null {
  let sleep: PollSet | null = null;
  for (let mail = receiveMessageOnPort(setup.mailbox); mail; mail = receiveMessageOnPort(setup.mailbox)) {
    const message = mail.message as Message<S>;
    let answer: Answer = null;
    try {
      if (message === RETIRE) duty.retire();
      else sleep = PollSet.forReading([wakeFd, ...duty.apply(message)]);
    } catch (error) {
      answer = error instanceof Error ? error.message : String(error);
    } finally {
      if (message !== RETIRE) for (const { keymat } of message.states) keymat?.fill(0);
    }
    setup.mailbox.postMessage(answer);
  }
  return sleep;
}
