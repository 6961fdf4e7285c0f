import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import type { Status } from "../backends/backend.js";
import { cliPath } from "../sys/paths.js";
import type { Scope } from "../sys/scope.js";
import { DemoError } from "./error.js";

/** Runs `xfrm-steer run` in a namespace; resolves once its interface is up. It ends with its standard input. */
export async function startNode(netns: string, policy: string, scope: Scope): Promise<void> {
  const child = spawn(process.execPath, [cliPath, "--netns", netns, "run", policy, "--until-eof", "--json"], {
    stdio: ["pipe", "pipe", "pipe"],
  });
  scope.own(child);
  let said = "";
  child.stderr.setEncoding("utf8").on("data", (chunk: string) => {
    said += chunk;
  });
  const up = once(child.stdout, "data");
  const ended = once(child, "close").then(([code]) => {
    throw new DemoError(`xfrm-steer run in ${netns} ended with ${code}: ${said.trim()}`);
  });
  await Promise.race([up, ended]);
  ended.catch(() => {}); // at the end of the demo it is killed
}

/** `xfrm-steer status` of a namespace. */
export async function statusOf(netns: string, scope: Scope): Promise<Status> {
  const text = await output(
    spawn(process.execPath, [cliPath, "--netns", netns, "status", "ipsec0", "--json"]),
    scope,
  );
  const [status] = JSON.parse(text) as Status[];
  if (!status) throw new DemoError(`xfrm-steer status in ${netns} shows no interface`);
  return status;
}

/** Echo replies to `count` echo requests. */
export async function ping(
  netns: string,
  from: string,
  to: string,
  count: number,
  scope: Scope,
): Promise<number> {
  const args = [
    "netns",
    "exec",
    netns,
    "ping",
    "-q",
    "-n",
    "-c",
    `${count}`,
    "-i",
    "0.02",
    "-W",
    "1",
    "-I",
    from,
    to,
  ];
  const text = await output(spawn("ip", args), scope, [0, 1]);
  const received = /(\d+) received/.exec(text)?.[1];
  if (received === undefined) throw new DemoError(`ping in ${netns} printed no count: ${text}`);
  return Number(received);
}

async function output(child: ChildProcess, scope: Scope, allowed: readonly number[] = [0]): Promise<string> {
  scope.own(child);
  let text = "";
  let errors = "";
  child.stdout?.setEncoding("utf8").on("data", (chunk: string) => {
    text += chunk;
  });
  child.stderr?.setEncoding("utf8").on("data", (chunk: string) => {
    errors += chunk;
  });
  const [code] = await once(child, "close");
  if (!allowed.includes(code))
    throw new DemoError(`${child.spawnargs.join(" ")} ended with ${code}: ${errors.trim()}`);
  return text;
}
