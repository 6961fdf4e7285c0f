import test from "ava";
import { EventFd } from "../../src/sys/eventfd.js";
import { PollSet } from "../../src/sys/poll-set.js";

test("an eventfd is readable from the first wake until it is cleared", (t) => {
  const event = new EventFd();
  t.teardown(() => event.close());
  const set = PollSet.forReading([event.fd]);
  const readable = (): boolean => {
    set.wait(0);
    return set.ready(0);
  };
  t.false(readable());
  event.wake();
  event.wake();
  t.true(readable());
  t.true(readable());
  new EventFd(event.fd).clear();
  t.false(readable());
  event.clear();
  t.false(readable());
});

test("waiting on a closed descriptor is an error and not a busy loop", (t) => {
  const event = new EventFd();
  const set = PollSet.forReading([event.fd]);
  event.close();
  set.wait(0);
  t.throws(() => set.ready(0), { message: /closed while in use/ });
});
