#!/usr/bin/env node
/** Writes schemas/steer.schema.json from the zod schema that the reader uses. Run after a build. */
import { writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { policyJsonSchema } from "../dist/src/config/json-schema.js";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
writeFileSync(join(root, "schemas", "steer.schema.json"), `${JSON.stringify(policyJsonSchema(), null, 2)}\n`);
