import { type ChildProcessWithoutNullStreams, spawn } from "node:child_process";
import { once } from "node:events";

/** Tell where an answer ends: the namespace's own name, then what prints nothing but empties the buffer of iproute2. */
const END = ["netns identify", "route show root 255.255.255.255/32 dev lo"];
/** From then on iproute2's process shows links where it is asked for addresses. */
const LINKS_SHOWN = /^link (show|list|ls)\b/;

/** A command line that `ip` refused. */
export class IpBatchError extends Error {
  override readonly name = "IpBatchError";
  /** The one that failed; those of the whole call where iproute2 does not tell. */
  readonly line: string;

  constructor(line: string, said: string) {
    super(said);
    this.line = line;
  }
}

/**
 * One `ip -batch` process in a network namespace that takes command lines as they come: to start a process for each
 * takes an emulated CPU a tenth of a second. It starts with the first line, and anew after one that ends it, as one
 * that fails does. It does not keep this process alive, and ends with it.
 */
export class IpBatch {
  readonly #namespace: string;
  readonly #endShown: RegExp;
  #child: ChildProcessWithoutNullStreams | null = null;
  /** Lines that the process was given. */
  #given = 0;
  #queue: Promise<unknown> = Promise.resolve();

  /** @param namespace as `ip netns list` has it */
  constructor(namespace: string) {
    this.#namespace = namespace;
    this.#endShown = new RegExp(`^${namespace}\n$`, "m");
  }

  /**
   * @param lines without the word "ip"
   * @returns what they print
   * @throws IpBatchError at the first that fails; those after it are not run
   */
  run(lines: readonly string[]): Promise<string> {
    const answer = this.#queue.then(() => this.#run(lines));
    this.#queue = answer.catch(() => {});
    return answer;
  }

  async end(): Promise<void> {
    const child = this.#child;
    this.#child = null;
    if (child === null || child.exitCode !== null || child.signalCode !== null) return;
    const ended = once(child, "close");
    keepAlive(child, true);
    child.kill("SIGKILL");
    await ended;
  }

  #run(lines: readonly string[]): Promise<string> {
    const child = this.#running();
    const before = this.#given;
    const all = [...lines, ...END];
    this.#given += all.length;
    return new Promise((resolve, reject) => {
      let stdout = "";
      let stderr = "";
      const done = () => {
        child.stdout.off("data", onOutput);
        child.stderr.off("data", onError);
        child.off("close", onClose).off("error", onFailure);
        keepAlive(child, false);
      };
      const onOutput = (text: string) => {
        stdout += text;
        const end = stdout.match(this.#endShown);
        if (end === null) return;
        done();
        if (lines.some((line) => LINKS_SHOWN.test(line))) this.#queue = this.#queue.then(() => this.end());
        resolve(stdout.slice(0, end.index));
      };
      const onError = (text: string) => {
        stderr += text;
      };
      const onFailure = (error: Error) => {
        done();
        this.#child = null;
        reject(error);
      };
      const onClose = () => {
        // After some lists, such as `xfrm state list`, iproute2 is content and ends.
        if (child.exitCode === 0) {
          done();
          this.#child = null;
          resolve(stdout);
          return;
        }
        // Words that iproute2 itself cannot read end it without telling the line.
        const failed = stderr.match(/Command failed -:(\d+)/)?.[1];
        const line = failed === undefined ? undefined : all[Number(failed) - 1 - before];
        const said = stderr.replace(/Command failed.*/, "").trim();
        onFailure(new IpBatchError(line ?? lines.join("; "), said || `exit ${child.exitCode}`));
      };
      child.stdout.on("data", onOutput);
      child.stderr.on("data", onError);
      child.on("close", onClose).on("error", onFailure);
      keepAlive(child, true);
      child.stdin.write(`${all.join("\n")}\n`);
    });
  }

  #running(): ChildProcessWithoutNullStreams {
    if (this.#child !== null) return this.#child;
    const child = spawn("ip", ["-n", this.#namespace, "-batch", "-"], {
      env: { ...process.env, LC_ALL: "C" },
    });
    child.stdin.on("error", () => {}); // it has ended: its status tells more than EPIPE would
    child.stdout.setEncoding("utf8");
    child.stderr.setEncoding("utf8");
    this.#given = 0;
    this.#child = child;
    return child;
  }
}

/** Whether this process waits for the child: for its streams, too, as "close" comes after the last of them has ended. */
function keepAlive(child: ChildProcessWithoutNullStreams, on: boolean): void {
  for (const each of [child, child.stdin, child.stdout, child.stderr] as unknown as Handle[]) {
    if (on) each.ref();
    else each.unref();
  }
}

/** What is a pipe here, a net.Socket, is declared as a stream only. */
interface Handle {
  ref(): void;
  unref(): void;
}
