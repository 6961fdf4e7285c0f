#!/usr/bin/env node
import { main } from "../dist/gen/cli.js";

process.exitCode = main(process.argv.slice(2));
