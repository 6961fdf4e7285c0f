import { constants } from "node:os";
import test from "ava";
import { CallList } from "../../src/sys/call-list.js";
import { functionAddress } from "../../src/sys/dynamic-linking.js";
import { EventFd } from "../../src/sys/eventfd.js";
import { errno } from "../../src/sys/libc.js";
import { Slab } from "../../src/sys/slab.js";

const LIBC = "libc.so.6";

test("every call of a list is made, in order, with its own arguments", (t) => {
  const slab = new Slab(64);
  const calls = new CallList(3);
  const memset = functionAddress(LIBC, "memset");
  for (const [index, [at, value, size]] of [[0, 1, 16] as const, [4, 2, 8] as const].entries()) {
    t.is(calls.add(memset), index);
    calls.setArgument(index, 0, slab.base + at);
    calls.setArgument(index, 1, value);
    calls.setArgument(index, 2, size);
  }
  calls.setArgument(calls.add(functionAddress(LIBC, "abs")), 0, -7);
  t.is(calls.runUntilError(), 3);
  t.deepEqual([...slab.bytes.subarray(0, 18)], [1, 1, 1, 1, 2, 2, 2, 2, 2, 2, 2, 2, 1, 1, 1, 1, 0, 0]);
  t.is(calls.result(2), 7);
});

test("a list ends with the call that fails, and its errno is there", (t) => {
  const event = new EventFd();
  const slab = new Slab(16);
  const calls = new CallList(3);
  const read = functionAddress(LIBC, "read");
  for (let i = 0; i < 3; i++) {
    const call = calls.add(read);
    calls.setArgument(call, 0, event.fd);
    calls.setArgument(call, 1, slab.base);
    calls.setArgument(call, 2, 8);
  }
  event.wake();
  t.is(calls.runUntilError(), 1);
  t.is(errno(), constants.errno.EAGAIN);
  t.is(calls.result(0), 8);
  event.close();
});

test("a function that is not there is named", (t) => {
  t.throws(() => functionAddress(LIBC, "no_such_function"), { message: /libc\.so\.6.*no_such_function/ });
  t.throws(() => functionAddress("libno-such.so.9", "f"), { message: /libno-such\.so\.9/ });
});
