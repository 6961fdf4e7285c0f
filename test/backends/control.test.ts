/** The control socket takes requests apart whatever pieces they come in, and says what is wrong with one that is not right. */
import { randomBytes } from "node:crypto";
import { createConnection } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import test from "ava";
import {
  ask,
  ControlError,
  type Handlers,
  serveControl,
  socketPath,
} from "../../src/backends/userspace/control.js";
import { FrameError, FrameReader } from "../../src/backends/userspace/frames.js";
import { parseRequest } from "../../src/backends/userspace/request-schemas.js";
import { withinNetns } from "../../src/sys/netns.js";
import { serialRootTest } from "../support/root-test.js";
import { makeNamespace } from "../sys/namespace.js";

function framed(json: string, keys: Uint8Array): Buffer {
  const length = (bytes: Uint8Array) => {
    const size = Buffer.alloc(4);
    size.writeUInt32BE(bytes.length);
    return size;
  };
  const text = Buffer.from(json);
  return Buffer.concat([length(text), text, length(keys), keys]);
}

test("a request is the same in pieces of any size", (t) => {
  const keys = randomBytes(61);
  const whole = framed('{"operation":"status","request":{}}', keys);
  for (const size of [1, 3, 4, 17, whole.length]) {
    const reader = new FrameReader();
    let got = null;
    for (let at = 0; at < whole.length; at += size) {
      t.is(got, null);
      got = reader.push(whole.subarray(at, at + size));
    }
    t.is(got?.json, '{"operation":"status","request":{}}');
    t.deepEqual(Buffer.from(got?.keys ?? []), keys);
    t.not(got?.keys.buffer, whole.buffer);
  }
});

test("a request of another version, or none, is refused by its first bytes", (t) => {
  t.throws(() => new FrameReader().push(Buffer.from('{"operation":"stop"}')), { instanceOf: FrameError });
});

for (const operation of ["constructor", "__proto__", "toString", "hasOwnProperty", "none"])
  test(`${operation} is no operation`, (t) => {
    t.throws(() => parseRequest(`{"operation":"${operation}","request":{}}`), {
      message: `there is no operation "${operation}"; there are apply, policy, flows, status, xfrm, rekey, stop`,
    });
  });

for (const [json, message] of [
  ["", /^the request is not JSON$/],
  ["null", /a request is \{operation, request\}/],
  ['{"operation":"status"}', /a request is|the request to status is not right: it/],
  [
    '{"operation":"rekey","request":{"connection":"a","step":"take","spi":1}}',
    /to rekey is not right: step: /,
  ],
  [
    '{"operation":"rekey","request":{"connection":"a","step":"add","spi":-1}}',
    /to rekey is not right: spi: /,
  ],
  [
    '{"operation":"apply","request":{"bundle":"!","keys":[{"out":1}]}}',
    /to apply is not right: bundle: .*keys\.0\./,
  ],
  ['{"operation":"stop","request":{"device":"remove","more":1}}', /to stop is not right: /],
] as const)
  test(`a request that is not right is refused with the reason: ${json.slice(0, 60)}`, (t) => {
    t.throws(() => parseRequest(json), { message });
  });

serialRootTest("keys reach the handler as they are, and are wiped when it is done", async (t) => {
  const netns = makeNamespace(t);
  const given = randomBytes(100_000);
  let seen: Uint8Array = new Uint8Array(0);
  let intact = false;
  const handlers = {
    rekey: async (_request, keys) => {
      seen = keys;
      // Meanwhile the client's end of the connection is over.
      await sleep(100);
      intact = given.equals(keys);
      return {};
    },
  } as Partial<Handlers> as Handlers;
  await withinNetns(netns, async () => {
    const server = await serveControl("ctl0", handlers);
    t.teardown(() => server.close());
    const request = { connection: "a", step: "add", spi: 256 } as const;
    t.deepEqual(await ask("ctl0", "rekey", request, given), {});
    t.true(intact);
    t.is(seen.length, given.length);
    t.true(seen.every((byte) => byte === 0));
    await t.throwsAsync(ask("ctl0", "rekey", { ...request, spi: -1 }), {
      instanceOf: ControlError,
      message: /spi/,
    });
    const said = await new Promise<string>((resolve) => {
      let text = "";
      const socket = createConnection(socketPath("ctl0"), () => socket.end('{"operation":"constructor"}'));
      socket.setEncoding("utf8").on("data", (chunk: string) => {
        text += chunk;
      });
      socket.on("close", () => resolve(text));
    });
    t.regex(said, /no request of this version/);
    t.deepEqual(await ask("ctl0", "rekey", request), {}, "and goes on");
  });
});
