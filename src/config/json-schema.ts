import * as z from "zod";
import { policySchema } from "./schema.js";

/** The JSON Schema (draft 2020-12) of a steer.yaml, for editors; schemas/steer.schema.json is this, written out. */
export function policyJsonSchema(): object {
  const { $schema, ...rest } = z.toJSONSchema(policySchema);
  return {
    $schema,
    title: "xfrm-steer policy",
    description: "Rules that steer flows to IPsec connections; see `xfrm-steer check`",
    ...rest,
  };
}
