import { Command } from "commander";
import { type FollowingBackend, follow } from "../backends/kernel/follow.js";
import { kernelBpfBackend } from "../backends/kernel-bpf/backend.js";
import { kernelLwtBackend } from "../backends/kernel-lwt/backend.js";
import { demandRoot } from "./backend.js";
import { CliError, ExitCode } from "./exit.js";

const FOLLOWING: readonly FollowingBackend[] = [kernelBpfBackend, kernelLwtBackend];

export function followCommand(): Command {
  return new Command("follow")
    .description(
      "in the foreground: apply the running policy anew when a device that it names (link, iif) is made again, or a device " +
        "group gets other members; ends at SIGINT or SIGTERM",
    )
    .argument("<interface>", "an interface of a kernel backend")
    .addHelpText("after", "\nExample:\n  sudo xfrm-steer follow ipsec0")
    .action(async (name: string) => {
      demandRoot("follow");
      const backend = FOLLOWING.find((each) => each.interfaces().includes(name));
      if (!backend)
        throw new CliError(
          `${name} is not set up here by a kernel backend; \`xfrm-steer apply\` sets it up`,
          ExitCode.failed,
        );
      const interruption = new AbortController();
      for (const signal of ["SIGINT", "SIGTERM"] as const) process.on(signal, () => interruption.abort());
      await follow(backend, name, {
        signal: interruption.signal,
        onReady: () => console.error(`following the devices of ${name}`),
        onRefresh: ({ generation }) =>
          console.error(`${name}: generation ${generation}, for a device made again`),
      });
    });
}
