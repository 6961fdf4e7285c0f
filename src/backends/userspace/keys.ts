import { type Policy, readKey } from "../../config/index.js";
import type { ConnectionKeys } from "./control.js";

/** Opens every key of a policy. @throws KeyError */
export function readKeys(policy: Policy): ConnectionKeys[] {
  return policy.connections.flatMap(({ name, esp }) => {
    if (!esp) return [];
    const hex = (sa: typeof esp.out) => {
      const key = readKey(sa.key, esp.suite);
      const text = key.toString("hex");
      key.fill(0);
      return text;
    };
    return [{ connection: name, out: hex(esp.out), in: hex(esp.in) }];
  });
}
