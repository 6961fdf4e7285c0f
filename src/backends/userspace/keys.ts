import { type Policy, readKey, type SaConfig } from "../../config/index.js";
import { allSas } from "../../config/keys.js";
import type { ConnectionKeys } from "./control.js";

/** Opens every key of a policy. @throws KeyError */
export function readKeys(policy: Policy): ConnectionKeys[] {
  return policy.connections.flatMap(({ name, esp }) => {
    if (!esp) return [];
    const hex = (sa: SaConfig) => {
      const key = readKey(sa.key, esp.suite);
      const text = key.toString("hex");
      key.fill(0);
      return text;
    };
    const [out, inbound, ...also] = allSas(esp);
    return [{ connection: name, out: hex(out), in: hex(inbound), alsoIn: also.map(hex) }];
  });
}
