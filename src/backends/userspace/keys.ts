import { type KeySource, type Policy, readKey, type SaConfig } from "../../config/index.js";
import { allSas } from "../../config/keys.js";
import type { SuiteName } from "../../esp/suite.js";
import type { ConnectionKeys } from "./control.js";

/** Opens every key of a policy. @throws KeyError */
export function readKeys(policy: Policy): ConnectionKeys[] {
  return policy.connections.flatMap(({ name, esp }) => {
    if (!esp) return [];
    const hex = (sa: SaConfig) => readHexKey(sa.key, esp.suite);
    const [out, inbound, ...also] = allSas(esp);
    return [{ connection: name, out: hex(out), in: hex(inbound), alsoIn: also.map(hex) }];
  });
}

/** As the control socket takes it: hexadecimal. @throws KeyError */
export function readHexKey(source: KeySource, suite: SuiteName): string {
  const key = readKey(source, suite);
  try {
    return key.toString("hex");
  } finally {
    key.fill(0);
  }
}
