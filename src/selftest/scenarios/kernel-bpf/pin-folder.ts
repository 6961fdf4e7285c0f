import { readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { PIN_ROOT } from "../../../backends/kernel-bpf/pins.js";
import type { Namespace } from "../../namespace.js";

/** Where the pins of a namespace's interfaces are. */
export function pinFolder(namespace: Namespace): string {
  return join(PIN_ROOT, `net-${statSync(namespace.path).ino}`);
}

/** The pins of a namespace's only interface. */
export function interfacePins(namespace: Namespace): string {
  const [device] = readdirSync(pinFolder(namespace));
  return join(pinFolder(namespace), device as string);
}
