import * as z from "zod";
import { EXTENSION_PREFIX, FILLED_BY_DEFAULTS, NO_DEFAULTS, policySchema } from "./schema.js";

/** The JSON Schema (draft 2020-12) of a steer.yaml, for editors; schemas/steer.schema.json is this, written out. */
export function policyJsonSchema(): object {
  const { $schema, ...rest } = z.toJSONSchema(policySchema, {
    override: ({ zodSchema, jsonSchema }) => {
      // Whether something is missing behind the defaults is more than a schema can say: check does.
      if (!FILLED_BY_DEFAULTS.includes(zodSchema) || jsonSchema.required === undefined) return;
      jsonSchema.required = jsonSchema.required.filter((key) => NO_DEFAULTS.includes(key));
    },
  });
  return {
    $schema,
    title: "xfrm-steer policy",
    description: "Rules that steer flows to IPsec connections; see `xfrm-steer check`",
    ...rest,
    // Left alone, for anchors to stand in.
    patternProperties: { [`^${EXTENSION_PREFIX}`]: {} },
  };
}
