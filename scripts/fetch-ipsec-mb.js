#!/usr/bin/env node
/**
 * Puts the library of Debian 13's libipsec-mb2, which needs no newer C library than Debian 12 has, into dist/native: it
 * has AES-GCM for CPUs with AVX2 and VAES, twice as fast as what version 1 has for them. Needs TypeScript compiled.
 */
import { copyFileSync, readdirSync, renameSync } from "node:fs";
import { join } from "node:path";
import { command } from "../dist/src/selftest/command.js";
import { PrivateApt } from "../dist/src/selftest/vm/apt.js";
import { packageRoot } from "../dist/src/sys/paths.js";
import { PrivateFolder } from "../dist/src/sys/private-folder.js";

const SUITE = "trixie";
const PACKAGE = "libipsec-mb2";
const LIBRARY = "libIPSec_MB.so.2";

const own = new PrivateFolder("xfrm-steer-ipsec-mb-");
const folder = own.path;
try {
  const apt = await PrivateApt.open(folder, [SUITE], () => {});
  await apt.download([PACKAGE], folder);
  const archive = readdirSync(folder).find((name) => name.endsWith(".deb"));
  if (archive === undefined) throw new Error(`apt-get downloaded no ${PACKAGE}`);
  const unpacked = join(folder, "unpacked");
  await command("dpkg-deb", ["-x", join(folder, archive), unpacked]);
  const output = join(packageRoot, "dist", "native", LIBRARY);
  copyFileSync(join(unpacked, "usr", "lib", "x86_64-linux-gnu", LIBRARY), `${output}.new`);
  renameSync(`${output}.new`, output);
} catch (error) {
  console.error(error.message);
  process.exitCode = 1;
} finally {
  own.remove();
}
