import { Command } from "commander";
import { explain, formatExplanation } from "../compiler/explain.js";
import { parsePacketText } from "../compiler/flow.js";
import { print } from "./output.js";
import { demandPolicy } from "./policy-file.js";

export function explainCommand(): Command {
  return new Command("explain")
    .description(
      "which rule decides about a packet, which connection takes it, and why the rules before do not match",
    )
    .argument("<file>", "steer.yaml")
    .argument("<packet>", "a flow, or the packet's bytes from the IP header on in hexadecimal")
    .option("--json", "one JSON document on stdout")
    .addHelpText(
      "after",
      '\nExample:\n  xfrm-steer explain steer.yaml "udp 10.0.0.1:1234 > 192.168.1.200:5060 dscp ef"' +
        "\n\nAn ICMP error follows the packet that it quotes, the other way:\n" +
        "  xfrm-steer explain steer.yaml \\\n" +
        "    'icmp 10.9.0.1 > 10.2.0.5 type 3 code 4 quoting \"udp 10.2.0.5:53 > 10.0.0.1:1234\"'",
    )
    .action((file: string, packet: string, options: { json?: boolean }) => {
      const explanation = explain(demandPolicy(file), parsePacketText(packet));
      print(options.json, explanation, () => formatExplanation(explanation));
    });
}
