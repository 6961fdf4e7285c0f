import { type OnReadOpts, Socket, type SocketConstructorOpts } from "node:net";
import { dupCloexec } from "../../sys/libc.js";
import { secretBytes } from "../../sys/secrets.js";

/**
 * A request on the control socket is two frames, each a length of 32 bits in network byte order and as many bytes: JSON, and
 * behind it the keys that it speaks of. Keys are so never a part of a string, which nobody could wipe.
 */

/** Larger than any policy that fits the tables. */
const MAX_JSON = 2 ** 30;
/** Keys of a million connections. */
const MAX_KEYS = 2 ** 28;
const LENGTH_SIZE = 4;
/** As much as a read of the socket gives at once. */
const READ_SIZE = 1 << 16;

/** What came is no request of this version. */
export class FrameError extends Error {
  override readonly name = "FrameError";
}

export interface Framed {
  readonly json: string;
  /** In memory of their own; whoever takes them wipes them. */
  readonly keys: Uint8Array;
}

/** Writes a request and says that it is the last. The keys have to stay until the answer has come. */
export function writeRequest(socket: Socket, json: string, keys: Uint8Array): void {
  socket.cork();
  for (const bytes of [Buffer.from(json), keys]) {
    socket.write(lengthOf(bytes));
    socket.write(bytes);
  }
  socket.uncork();
  socket.end();
}

function lengthOf({ length }: Uint8Array): Buffer {
  const bytes = Buffer.alloc(LENGTH_SIZE);
  bytes.writeUInt32BE(length);
  return bytes;
}

/** Takes a request apart, in whatever pieces it comes. */
export class FrameReader {
  readonly #length = Buffer.alloc(LENGTH_SIZE);
  readonly #frames: Buffer[] = [];
  #current: Buffer = this.#length;
  #filled = 0;

  /** @returns the request once it is whole; what is behind it is passed over @throws FrameError */
  push(piece: Uint8Array): Framed | null {
    let at = 0;
    for (;;) {
      const count = Math.min(piece.length - at, this.#current.length - this.#filled);
      this.#current.set(piece.subarray(at, at + count), this.#filled);
      at += count;
      this.#filled += count;
      if (this.#filled < this.#current.length) return null;
      this.#filled = 0;
      if (this.#current === this.#length) this.#current = this.#begin();
      else {
        this.#frames.push(this.#current);
        this.#current = this.#length;
      }
      const [json, keys] = this.#frames;
      if (json !== undefined && keys !== undefined) return { json: json.toString(), keys };
    }
  }

  #begin(): Buffer {
    const length = this.#length.readUInt32BE();
    if (length > (this.#frames.length === 0 ? MAX_JSON : MAX_KEYS))
      throw new FrameError("this is no request of this version of xfrm-steer");
    return secretBytes(length);
  }

  /** Overwrites what came so far of a request that does not become whole. */
  wipe(): void {
    for (const bytes of [this.#current, ...this.#frames]) bytes.fill(0);
  }
}

/**
 * Reads one request of a connection that nothing was read of yet (`pauseOnConnect`). Node would read it into memory that it
 * frees as it is; by another descriptor of the connection all of it comes through one buffer of ours, which is wiped.
 *
 * @returns the socket to answer by
 */
export function readRequest(
  accepted: Socket,
  done: (request: Framed) => void,
  failed: (error: Error) => void,
): Socket {
  const reader = new FrameReader();
  let waiting = true;
  const end = (error: Error | null) => {
    if (!waiting) return; // the keys are those of whoever took the request
    waiting = false;
    if (error === null) return;
    reader.wipe();
    failed(error);
  };
  const take = (count: number, buffer: Uint8Array): boolean => {
    const piece = buffer.subarray(0, count);
    try {
      const request = waiting ? reader.push(piece) : null;
      if (request !== null) {
        end(null);
        done(request);
      }
    } catch (error) {
      end(error as Error);
    } finally {
      piece.fill(0);
    }
    return true;
  };
  const options: SocketConstructorOpts & { onread: OnReadOpts } = {
    fd: dupCloexec(descriptorOf(accepted)),
    allowHalfOpen: true,
    onread: { buffer: new Uint8Array(READ_SIZE), callback: take },
  };
  const socket = new Socket(options);
  accepted.destroy();
  socket.on("error", (error) => {
    end(error);
    socket.destroy();
  });
  socket.on("end", () => end(new FrameError("the request broke off")));
  return socket;
}

/** Node has no name for it, and no other way to an accepted connection's descriptor. */
function descriptorOf(socket: Socket): number {
  const { _handle } = socket as unknown as { _handle: { fd: number } };
  return _handle.fd;
}
