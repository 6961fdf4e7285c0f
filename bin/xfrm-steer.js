#!/usr/bin/env node
import { existsSync } from "node:fs";

const main = new URL("../dist/src/cli/main.js", import.meta.url);
if (!existsSync(main)) {
  console.error("xfrm-steer: not built yet; run `npm run setup` first");
  process.exit(1);
}
await import(main);
