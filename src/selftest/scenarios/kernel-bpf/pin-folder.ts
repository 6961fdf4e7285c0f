import { readdirSync } from "node:fs";
import { join } from "node:path";
import { PIN_ROOT } from "../../../backends/kernel-bpf/pins.js";
import { inNetns } from "../../../sys/netns.js";
import { namespaceFolder } from "../../../sys/runtime-dir.js";
import type { Namespace } from "../../namespace.js";

/** Where the pins of a namespace's interfaces are. */
export function pinFolder(namespace: Namespace): string {
  return join(PIN_ROOT, inNetns(namespace.handle, namespaceFolder));
}

/** The pins of a namespace's only interface. */
export function interfacePins(namespace: Namespace): string {
  const [device] = readdirSync(pinFolder(namespace));
  return join(pinFolder(namespace), device as string);
}
