import { chmodSync, rmSync } from "node:fs";
import { createConnection, createServer, type Server, type Socket } from "node:net";
import { join } from "node:path";
import { systemErrorText } from "../../sys/error-text.js";
import { makeRuntimeDir, runtimeDir } from "../../sys/runtime-dir.js";
import type { Applied, Status } from "../backend.js";
import type { FlowAnswer, FlowRequest } from "../flow-requests.js";
import type { RekeyRequest, XfrmDatabases } from "./databases.js";
import { type Framed, readRequest, writeRequest } from "./frames.js";
import type { KeyLayout } from "./keys.js";
import { parseRequest } from "./request-schemas.js";

/**
 * The control socket of a running userspace interface: one request a connection (frames.ts), one answer in JSON.
 * The socket lies in a folder of root's with mode 0700, so keys may cross it; they do as bytes beside the request.
 */
export interface Requests {
  apply: { request: { bundle: Bundle64; keys: readonly KeyLayout[] }; answer: Applied };
  policy: { request: Record<never, never>; answer: { bundle: Bundle64 | null } };
  flows: { request: FlowRequest; answer: FlowAnswer };
  /** Null while the interface is being set up. */
  status: { request: Record<never, never>; answer: Status | null };
  xfrm: { request: Record<never, never>; answer: XfrmDatabases };
  rekey: { request: RekeyRequest; answer: Record<never, never> };
  /** `device`: whether it is removed, or left for another process where it had a policy. */
  stop: { request: { device: "remove" | "leave" }; answer: Record<never, never> };
}

/** A policy as a bundle (compiler/bundle), in base64: bulk flows are columns of bytes, which JSON has no form for. */
export type Bundle64 = string;

export type Operation = keyof Requests;
/** `keys` are wiped once the answer is there. */
export type Handlers = {
  readonly [O in Operation]: (
    request: Requests[O]["request"],
    keys: Uint8Array,
  ) => Promise<Requests[O]["answer"]>;
};

/** The running service refused a request; the message is its own. */
export class ControlError extends Error {
  override readonly name = "ControlError";
}

const SUFFIX = ".sock";
const NO_KEYS = new Uint8Array(0);

export function socketPath(interfaceName: string): string {
  return join(runtimeDir(), `${interfaceName}${SUFFIX}`);
}

/**
 * Serves requests, one at a time, until the server is closed; a socket that a killed process left is replaced. The caller
 * has the interface's DeviceRecord.
 */
export async function serveControl(interfaceName: string, handlers: Handlers): Promise<Server> {
  const path = socketPath(interfaceName);
  makeRuntimeDir();
  rmSync(path, { force: true });
  let queue = Promise.resolve();
  const server = createServer({ allowHalfOpen: true, pauseOnConnect: true }, (accepted) => {
    const socket: Socket = readRequest(
      accepted,
      (request) => {
        queue = queue.then(async () => {
          socket.end(JSON.stringify(await answer(request, handlers)));
        });
      },
      (error) => socket.end(JSON.stringify({ error: error.message })),
    );
  });
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(path, resolve);
  });
  chmodSync(path, 0o600);
  return server;
}

type Answer = { ok: unknown } | { error: string };

async function answer({ json, keys }: Framed, handlers: Handlers): Promise<Answer> {
  try {
    const { operation, request } = parseRequest(json);
    return { ok: await handlers[operation](request, keys) };
  } catch (error) {
    return { error: systemErrorText(error) ?? (error instanceof Error ? error.message : String(error)) };
  } finally {
    keys.fill(0);
  }
}

/**
 * Asks the service that runs an interface.
 *
 * @param keys that the request speaks of; the caller wipes them
 * @returns null where nobody serves it, or who did ended before it had answered
 * @throws ControlError with the service's words where it refused
 */
export async function ask<O extends Operation>(
  interfaceName: string,
  operation: O,
  request: Requests[O]["request"],
  keys: Uint8Array = NO_KEYS,
): Promise<Requests[O]["answer"] | null> {
  const path = socketPath(interfaceName);
  const text = await exchange(path, JSON.stringify({ operation, request }), keys);
  if (text === null || text === "") return null; // it may have been killed, and on its way out, when it was asked
  const reply = JSON.parse(text) as Answer;
  if ("error" in reply) throw new ControlError(reply.error);
  return reply.ok as Requests[O]["answer"];
}

/** Whether a process answers on an interface's control socket. */
export async function isServed(interfaceName: string): Promise<boolean> {
  return await new Promise((resolve) => {
    const socket = createConnection(socketPath(interfaceName), () => {
      socket.destroy();
      resolve(true);
    });
    socket.on("error", () => resolve(false));
  });
}

/** Sends one request and reads the answer to its end; null where nobody listens. */
function exchange(path: string, request: string, keys: Uint8Array): Promise<string | null> {
  return new Promise((resolve, reject) => {
    let text = "";
    const socket = createConnection({ path, allowHalfOpen: true });
    socket.setEncoding("utf8");
    socket.on("connect", () => writeRequest(socket, request, keys));
    socket.on("data", (chunk: string) => {
      text += chunk;
    });
    socket.on("end", () => resolve(text));
    socket.on("error", (error: NodeJS.ErrnoException) => {
      if (error.code === "ENOENT" || error.code === "ECONNREFUSED") resolve(null);
      else if (error.code === "ECONNRESET" || error.code === "EPIPE") resolve(text);
      else reject(error);
    });
  });
}
