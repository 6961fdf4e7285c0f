import { closeSync, openSync, writeSync } from "node:fs";
import { setTimeout as delay } from "node:timers/promises";
import { Command, Option } from "commander";
import { ask, ControlError } from "../backends/userspace/control.js";
import { SteeringCapture } from "../capture/capture.js";
import { KnownSas } from "../capture/known-sas.js";
import { findIfindex } from "../sys/ifindex.js";
import { demandRoot } from "./backend.js";
import { CliError, ExitCode } from "./exit.js";
import { writing } from "./output.js";
import { count } from "./values.js";

interface CaptureFlags {
  output: string;
  only?: "inner" | "outer";
  count: number;
  seconds: number;
}

/** How long packets wait in the socket's buffer; their times are the kernel's all the same. */
const BATCH_MS = 20;
/** How often the running SAs are read again. */
const SAS_MS = 1000;

export function captureCommand(): Command {
  return new Command("capture")
    .description("packets of a userspace interface as pcapng, each with its if_id and SPI as a comment")
    .argument("<interface>", "as in `xfrm-steer status`")
    .requiredOption("-o, --output <file>", 'where to; "-" for standard output')
    .addOption(
      new Option("--only <what>", "inner packets, or ESP packets; both if left out").choices([
        "inner",
        "outer",
      ]),
    )
    .option("--count <n>", "end after so many packets", count, Number.POSITIVE_INFINITY)
    .option("--seconds <n>", "end after so long; at SIGINT if left out", count, Number.POSITIVE_INFINITY)
    .addHelpText(
      "after",
      "\nThe keys of the SAs are never in it. Packets are captured before segmentation and after coalescing.\n\nExample:\n  sudo xfrm-steer capture ipsec0 -o - | wireshark -k -i -",
    )
    .action(async (interfaceName: string, flags: CaptureFlags) => {
      demandRoot("capture");
      const known = await runningSas(interfaceName);
      const ifindex = findIfindex(interfaceName);
      if (known === null || ifindex === null)
        throw new CliError(
          `${interfaceName} is not an interface of the userspace backend here; of the kernel's ESP, tcpdump sees both sides`,
          ExitCode.failed,
        );
      await capture(interfaceName, ifindex, known, flags);
    });
}

async function capture(
  interfaceName: string,
  ifindex: number,
  first: KnownSas,
  { output, only, count, seconds }: CaptureFlags,
): Promise<void> {
  const fd = output === "-" ? process.stdout.fd : writing(output, () => openSync(output, "w", 0o600));
  let known = first;
  const running = new SteeringCapture({
    ...{ interfaceName, ifindex, what: only ?? "both" },
    known: () => known,
    write: (bytes) => writeWhole(fd, bytes),
  });
  const stop = new AbortController();
  for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => stop.abort());
  console.error(`capturing ${interfaceName}${output === "-" ? "" : ` to ${output}`}; SIGINT ends it`);
  try {
    const end = Date.now() + seconds * 1000;
    let readAt = Date.now();
    while (running.packets < count && Date.now() < end && !stop.signal.aborted) {
      await delay(BATCH_MS);
      if (Date.now() - readAt > SAS_MS) {
        readAt = Date.now();
        known = (await runningSas(interfaceName)) ?? known;
      }
      running.drain(count - running.packets);
    }
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EPIPE") throw error; // the reader has seen enough
  } finally {
    running.close();
    if (fd !== process.stdout.fd) closeSync(fd);
    console.error(`${running.packets} packets`);
  }
}

/** A pipe may take a part only. */
function writeWhole(fd: number, bytes: Uint8Array): void {
  for (let at = 0; at < bytes.length; ) at += writeSync(fd, bytes, at);
}

/** Those in force, which `sa` changes besides the policy; null where there are none yet, or none any more. */
async function runningSas(interfaceName: string): Promise<KnownSas | null> {
  try {
    const answer = await ask(interfaceName, "xfrm", {});
    return answer && new KnownSas(answer.states);
  } catch (error) {
    if (error instanceof ControlError) return null; // the interface is being made or removed
    throw error;
  }
}
