import { existsSync } from "node:fs";
import { join } from "node:path";
import { mbImplementations } from "../../src/esp/aead-ipsec-mb.js";
import { packageRoot } from "../../src/sys/paths.js";

/** Where scripts/setup.js looks for the library, and where it puts one. */
const FOLDERS = ["/usr/lib", "/usr/lib/x86_64-linux-gnu", join(packageRoot, "dist/native")];

/** Why libipsec-mb cannot be used here, found without binding it; null where it can, and then it must be. */
export const whyNoIpsecMb = (): string | null => {
  const files = FOLDERS.flatMap((folder) => ["1", "2"].map((v) => join(folder, `libIPSec_MB.so.${v}`)));
  if (!files.some((file) => existsSync(file))) return "libIPSec_MB is not installed";
  return mbImplementations().length === 0 ? "the CPU lacks its instructions" : null;
};
