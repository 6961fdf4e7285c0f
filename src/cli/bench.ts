import { Command } from "commander";
import { benchKernelCommand } from "./bench-kernel.js";

export function benchCommand(): Command {
  return new Command("bench").description("measure this machine").addCommand(benchKernelCommand());
}
