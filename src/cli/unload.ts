import { Command } from "commander";
import { formatOpened, guardedPrefixes, openedPrefixes } from "../backends/guard/opened.js";
import { allBackends } from "../backends/select.js";
import type { Prefix } from "../config/index.js";
import { allInterfaces, demandRoot } from "./backend.js";
import { print } from "./output.js";

export function unloadCommand(): Command {
  return new Command("unload")
    .description("take away everything that apply made, and nothing else")
    .argument("[interface]", "one interface; all of this network namespace if left out")
    .option("--json", "one JSON document on stdout")
    .addHelpText("after", "\nExample:\n  sudo xfrm-steer unload ipsec0")
    .action(async (interfaceName: string | undefined, options: { json?: boolean }) => {
      demandRoot("unload");
      const removed: string[] = [];
      const guarded: Prefix[] = [];
      for (const name of interfaceName === undefined ? allInterfaces() : [interfaceName]) {
        guarded.push(...guardedPrefixes(name));
        for (const backend of allBackends()) if (await backend.remove(name)) removed.push(name);
      }
      const opened = openedPrefixes(guarded);
      print(options.json, { removed, ...(opened.length > 0 ? { opened } : {}) }, () =>
        [
          removed.length === 0 ? "nothing was set up here" : `removed ${removed.join(", ")}`,
          ...formatOpened(opened),
        ].join("\n"),
      );
    });
}
